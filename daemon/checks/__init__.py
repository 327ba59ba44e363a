"""Locality regression checks, and which edit is to blame.

A failed check is followed in this order: `claimed_check` (a slice of work), `check_run` and `check_states` (asks, a chunk
at a step), `suite_result` (passed or not), `check_policy` (hold or rollback), `blame` (which edits did it).
"""
