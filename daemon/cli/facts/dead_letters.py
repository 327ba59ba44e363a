"""`upkeep dead-letters`: what could not be accepted, and why; sent again after it was mended."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    LimitOption,
    ReasonOption,
    YesOption,
    agreed,
    ledger_of,
    one_off_settings,
)
from edits.errors import PermanentError

if TYPE_CHECKING:
    from daemon.operations.dead_letters import DeadLetter
    from daemon.settings.settings import Settings

SHOWN_CHARS = 300  # of a value, in a list


def dead_letters(
    letter: Annotated[
        str | None, typer.Option("--letter", help="Only this one, whole: PARTITION:OFFSET as it is listed.")
    ] = None,
    resubmit: Annotated[
        str | None, typer.Option("--resubmit", help="Send this one (PARTITION:OFFSET) to the topic again.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="With --resubmit: the mended event; -: standard input.")
    ] = None,
    code: Annotated[str | None, typer.Option("--code", help="Only letters with this reason code.")] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Only letters with this text in reason, key or value.")
    ] = None,
    limit: LimitOption = 20,
    cursor: Annotated[
        str | None, typer.Option("--cursor", help="Go on where the last page said `next`.")
    ] = None,
    reason: ReasonOption = None,
    yes: YesOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show the records that could not be accepted, the newest first, or send one of them again.

    \b
    Example:
      upkeep dead-letters --code missing_field
      upkeep dead-letters --letter 0:17
      upkeep dead-letters --resubmit 0:17 --file mended.json --reason "bad feed"
    """
    from daemon.cli.output import console, print_json
    from daemon.operations import dead_letters as letters

    settings = one_off_settings(config)
    if resubmit is not None:
        _resubmit(settings, resubmit, file, reason, yes=yes, as_json=as_json)
        return
    if file is not None:
        raise typer.BadParameter("--file goes with --resubmit")
    if letter is not None:
        found = letters.dead_letter(settings, letter)
        page = letters.DeadLetterPage((found,), None)
    else:
        page = letters.dead_letters(settings, cursor=cursor, limit=limit, code=code, text=text)
    if as_json:
        print_json({"letters": page.letters, "next": page.next})
        return
    for one in page.letters:
        _print_letter(one, whole=letter is not None)
    if not page.letters:
        console().print("no dead letters here")
    if page.next is not None:
        console().print(f"older ones: --cursor {page.next}")


def _resubmit(
    settings: "Settings", name: str, file: Path | None, reason: str | None, *, yes: bool, as_json: bool
) -> None:
    from daemon.cli.output import console, print_json
    from daemon.ledger.values import Act
    from daemon.operations import dead_letters as letters
    from daemon.operations.actions import person

    value = None if file is None else _read(file, settings.consumer.max_value_bytes)
    if not as_json:
        _print_letter(letters.dead_letter(settings, name), whole=True)
    why = agreed("Send it again?", yes=yes, reason=reason)
    with ledger_of(settings) as ledger:
        event = letters.resubmit(settings, ledger, name, Act(person(), why), value=value)
    if as_json:
        print_json({"resubmitted": name, "event_id": event.event_id, "topic": settings.kafka.topic})
    else:
        console().print(f"event {event.event_id} sent to {settings.kafka.topic}", markup=False)


def _read(file: Path, max_bytes: int) -> bytes:
    try:
        if str(file) == "-":
            return typer.get_binary_stream("stdin").read(max_bytes + 1)
        with file.open("rb") as source:
            return source.read(max_bytes + 1)
    except OSError as error:
        raise PermanentError(f"{file} cannot be read: {error.strerror}") from error


def _print_letter(one: "DeadLetter", *, whole: bool) -> None:
    from daemon.cli.output import console, paragraph, shown

    out = console()
    origin = f"{one.origin_topic}, partition {shown(one.origin_partition)}, offset {shown(one.origin_offset)}"
    out.print(f"{one.name}  {shown(one.at)}  {shown(one.reason_code)}", markup=False, style="bold")
    out.print(paragraph(shown(one.reason), 4))
    out.print(paragraph(f"from {shown(origin)}", 4))
    value = shown(one.value if whole else one.value[:SHOWN_CHARS])
    ellipsis = "" if whole or len(one.value) <= SHOWN_CHARS else " ..."
    out.print(paragraph(f"{value}{ellipsis}", 4))
