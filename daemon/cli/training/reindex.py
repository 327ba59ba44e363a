"""`upkeep reindex`: after another sentence encoder was set, its vectors for all that is live."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, ledger_of, one_off_settings
from edits.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def reindex(
    live: Annotated[
        bool, typer.Option("--live", help="Only what is live now; after a rollback, run it again.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Make the scope index again with the encoder that the settings name now.

    The texts stand in the shards, so that no expert is trained and the base is not loaded; what was made with another
    encoder stays. An encoder that is new here trains its pair head first, once: about a quarter of an hour on one core
    (the default's is shipped; others are kept in heads/ of the store). What is live comes first, then the shards of
    earlier generations, which a rollback may need. Run it after a change of `index.encoder`, before `upkeep run`; run it
    again if it was interrupted.

    \b
    Example:
      upkeep reindex
      upkeep reindex --live --json
    """
    from daemon.cli.output import console, plain, print_json, table
    from daemon.settings.complaints import BadSettings

    settings = one_off_settings(config)
    if not settings.index.encoder:
        raise BadSettings('index.encoder = "" reads no text: name the encoder that is to read it')
    from daemon.served_model import open_matcher, open_store
    from daemon.work.reindexing import reindex_store  # loads torch: after the settings, which may be wrong

    with ledger_of(settings) as ledger:
        generations = ledger.generations
        digests = sorted(set(generations.live().values()))
        digests += [] if live else sorted(generations.shards() - set(digests))
    with _progress(len(digests), shown=not as_json) as (describe, done):
        describe(
            "loading the encoder; where it has no pair head yet, training one (a quarter of an hour on a core)"
        )
        matcher = open_matcher(settings)
        assert matcher is not None  # noqa: S101  -- an encoder is named, see above
        describe("reading the texts again")
        made = reindex_store(open_store(settings), digests, matcher, done=done)
    if as_json:
        print_json({"encoder": settings.index.encoder, **plain(made)})
        return
    rows = [(outcome.replace("_", " "), count) for outcome, count in made.shards.items()]
    console().print(table(f"index of {settings.index.encoder}", ("shards", "how many"), rows))
    console().print(f"{counted(made.edits, 'edit')} read again in {made.seconds:.1f} seconds")


@contextmanager
def _progress(total: int, *, shown: bool) -> "Iterator[tuple[Callable[[str], None], Callable[[], None]]]":
    """A bar on stderr: say what is being done, and that one more shard is."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task("", total=total)
        yield lambda text: progress.update(task, description=text), lambda: progress.advance(task)
