"""Everything about one edit, on one page: what costs, is what concerns this fact alone."""

from typing import Any

from sqlalchemy import Connection, Row, Select, or_, select

from daemon.ledger.history.audit import Audit
from daemon.ledger.history.batch_lists import batch_line
from daemon.ledger.history.timeline import Timeline
from daemon.ledger.page_values import MAX_LISTED, FactPage, FactValue, RecordPlace
from daemon.ledger.store.database import Database
from daemon.ledger.store.rows import edit_of, select_edits, to_edit
from daemon.ledger.store.schema import check_results, edits, generation_changes, records
from daemon.ledger.values import CheckResult, Edit, EditState, HistoryEntry, Lane, RecordOutcome
from edits.ids import EditId

MAX_VERSIONS = 50
MAX_CHECKS = 20
MAX_SPANS = 5  # times that an edit went live; of earlier ones no checks are listed


class FactPages:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = Audit(database)
        self._timeline = Timeline(database)

    def page(self, edit_id: EditId) -> FactPage:
        """One edit with its events, batch, generations, checks and rivals.

        Raises:
            NotInLedger: there is no such edit.
        """
        with self._database.read() as connection:
            edit = edit_of(connection, edit_id)
            switched = _switched(connection, edit_id)
            versions = _versions(connection, edit)
            found = _records(connection, edit.event_id)
            batch = batch_line(connection, edit.batch_id)
            checks = _checks(connection, switched)
        history = tuple(self._audit.history(edit_id)[-MAX_LISTED:])
        return FactPage(
            edit=edit,
            now=_now(edit, versions),
            before=_before(edit, versions),
            why=why(edit, history),
            history=history,
            records=found,
            batch=batch,
            verification=_verification(history),
            generations=self._timeline.named([number for number, _ in switched]),
            versions=versions,
            checks=checks,
            can_undo=edit.state is EditState.LIVE,
            can_retry=edit.state in (EditState.REJECTED, EditState.QUARANTINED),
        )


def why(edit: Edit, history: tuple[HistoryEntry, ...]) -> str:
    """Why an edit is in its state, in one sentence."""
    last = history[-1] if history else None
    reason = edit.reason or (str(last.detail["why"]) if last is not None and "why" in last.detail else None)
    match edit.state:
        case EditState.PENDING:
            lane = "urgent lane's next plan" if edit.priority is Lane.URGENT else "nightly plan"
            because = f"it waits for the {lane}"
            return f"{because}: {last.cause}" if last is not None and last.from_state is not None else because
        case EditState.PLANNED:
            because = f"it is planned in batch {edit.batch_id} and waits for a worker"
        case EditState.APPLYING:
            because = f"batch {edit.batch_id} is being trained and verified"
        case EditState.LIVE:
            because = f"it passed verification and answers since generation {edit.generation}"
        case EditState.SUPERSEDED:
            because = "a newer value of the same fact took its place"
        case EditState.RETRACTED:
            because = "it was taken back" if edit.op == "assert" else "it takes the fact back"
        case EditState.REJECTED:
            because = "verification turned it down"
        case EditState.QUARANTINED:
            because = "it was given up"
    return f"{because}: {reason}" if reason else because


def _switched(connection: Connection, edit_id: EditId) -> list[tuple[int, bool]]:
    """The generations that switched the edit on (True) or off, the newest first."""
    changed = generation_changes.c
    query = select(changed.generation, changed.shard).where(changed.edit_id == edit_id)
    rows = connection.execute(query.order_by(changed.generation.desc()).limit(MAX_LISTED))
    return [(int(number), shard is not None) for number, shard in rows]


def _versions(connection: Connection, edit: Edit) -> tuple[Edit, ...]:
    """The other edits of the same fact, or of the same prompt, the newest arrival first."""
    same = [edits.c.fact_key == edit.fact_key]
    if edit.prompt_key is not None:
        same.append(edits.c.prompt_key == edit.prompt_key)
    query = select_edits().where(or_(*same), edits.c.id != edit.id)
    rows = connection.execute(query.order_by(edits.c.id.desc()).limit(MAX_VERSIONS))
    return tuple(to_edit(row) for row in rows)


def _now(edit: Edit, versions: tuple[Edit, ...]) -> FactValue | None:
    live = next((one for one in (edit, *versions) if one.state is EditState.LIVE), None)
    return _value(live)


def _before(edit: Edit, versions: tuple[Edit, ...]) -> FactValue | None:
    """The newest older value that has been live."""
    older = [one for one in versions if one.recency < edit.recency and one.generation is not None]
    return _value(
        max((one for one in older if one.op == "assert"), key=lambda one: one.recency, default=None)
    )


def _value(edit: Edit | None) -> FactValue | None:
    return None if edit is None else FactValue(edit.id, edit.event_id, edit.target_new or "")


def _records(connection: Connection, event_id: str) -> tuple[RecordPlace, ...]:
    query = select(records).where(records.c.event_id == event_id).order_by(records.c.id).limit(MAX_LISTED)
    return tuple(
        RecordPlace(row.topic, row.partition, row.offset, row.at, RecordOutcome(row.outcome), row.reason)
        for row in connection.execute(query)
    )


def _checks(connection: Connection, switched: list[tuple[int, bool]]) -> tuple[CheckResult, ...]:
    """The newest results of generations in which the edit was live."""
    found: list[Row[Any]] = []
    until: int | None = None
    for number, is_on in switched[: 2 * MAX_SPANS]:
        if is_on:
            found += connection.execute(_newest_results(number, until)).all()
        until = number
    newest = sorted(found, key=lambda row: int(row.id), reverse=True)[:MAX_CHECKS]
    return tuple(
        CheckResult(row.suite, row.generation, row.at, row.passed, row.scores, row.probes) for row in newest
    )


def _newest_results(first: int, until: int | None) -> Select[Any]:
    """Results of the generations from one on, up to another but without it; in the order of their index."""
    result = check_results.c
    query = select(check_results).where(result.generation >= first)
    if until is not None:
        query = query.where(result.generation < until)
    newest = (result.generation.desc(), result.suite.desc(), result.id.desc())
    return query.order_by(*newest).limit(MAX_CHECKS)


def _verification(history: tuple[HistoryEntry, ...]) -> dict[str, Any]:
    """The scores that the newest verification gave the edit itself, where it was turned down."""
    scored = [entry.detail["scores"] for entry in history if "scores" in entry.detail]
    return dict(scored[-1]) if scored else {}
