"""What the ledger tells of edits, batches and generations: one by one, as pages, or as lists."""
