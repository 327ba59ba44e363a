"""`upkeep run --embedded`: the whole daemon on one machine, with a broker and a ledger of its own, in one folder.

state_folder.py        the folder, for one process alone
embedded_settings.py   the settings of its roles and of the commands in another terminal
embedded_run.py        broker, then roles; at the end roles, then broker
announcement.py        what runs where, and what to do next
"""
