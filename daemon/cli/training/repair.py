"""`upkeep repair`: find damaged shards of the adapter store, and train their edits again."""

from typing import Annotated

import typer

from daemon.cli.options import (
    BY_HAND,
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    ReasonOption,
    ledger_of,
    one_off_settings,
)
from edits.text import counted


def repair(
    check: Annotated[bool, typer.Option("--check", help="Only look: name what is damaged.")] = False,
    reason: ReasonOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Read every live shard, and let the edits of damaged ones be trained again.

    Where there is a copy of the store, restore the files instead: the roles take them up within a minute.

    \b
    Example:
      upkeep repair --check
      upkeep repair --reason "a disk died"
    """
    from daemon.cli.output import console, print_json, table
    from daemon.ledger.values import Act
    from daemon.operations import actions
    from daemon.served_model import open_store  # loads torch: after the settings, which may be wrong
    from daemon.work.repairing import find_damage, train_again

    settings = one_off_settings(config)
    with ledger_of(settings) as ledger:
        found = find_damage(ledger, open_store(settings))
        if not check:
            found = train_again(ledger, found, Act(actions.person(), reason or BY_HAND))
    if as_json:
        print_json(
            {
                "damaged": {digest: list(ids) for digest, ids in found.damaged.items()},
                "pending": list(found.pending),
            }
        )
        return
    if not found.damaged:
        console().print("every live shard is whole")
        return
    rows = [(digest[:12], len(ids)) for digest, ids in found.damaged.items()]
    console().print(table("damaged shards", ("shard", "live edits"), rows))
    if found.pending:
        again = counted(len(found.pending), "edit", "is", "are")
        console().print(f"{again} pending again; `upkeep apply` trains what is pending now")
