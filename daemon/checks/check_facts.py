"""The live edits that retention asks for: a sample of all, more of the young where these are few, or every one."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from daemon.ledger import Ledger
from daemon.ledger.values import Edit
from edits.ids import EditId
from monitoring.checks.regression import AnswersPrompts, LiveFact
from monitoring.checks.suites import sampling_hash
from monitoring.checks.tally import AGE_DAYS


class FactSample(BaseModel):
    """Which live edits are asked: drawn ones, by id and with the windows of age that they count for, or all of them.

    Attributes:
        first: for each window of age the generation that it begins with; None: nothing is so young.
        drawn: (edit id, the one window that it fills; empty: it stands for all) of those yet to be asked.
        after: with `everything`, the id after which the live edits are yet to be asked.
        whole: whether those that stand for all are all.
    """

    # Of a check that an earlier release began, the ids are numbers.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    first: dict[str, int | None]
    drawn: tuple[tuple[EditId, str], ...] = ()
    everything: bool = False
    after: EditId = "0"
    whole: bool = False


def sample_facts(
    ledger: Ledger, *, count: int | None, generation: int, seed: int, clock: Callable[[], datetime]
) -> FactSample:
    """FactSample what is asked of the live edits of a generation; `count` None: everything."""
    first = {
        age: ledger.samples.first_after(clock() - timedelta(days=days)) for age, days in AGE_DAYS.items()
    }
    if count is None:
        return FactSample(first=first, everything=True, whole=True)
    edits = ledger.samples.live(count, seed=seed)
    drawn = [(edit.id, "") for edit in edits if _was_live(edit, generation)]
    for age, since in first.items():
        young = [edit for edit in edits if since is not None and (edit.generation or 0) >= since]
        if since is None or len(edits) < count or len(young) >= count:
            continue  # nobody is so young, or all of them are asked anyway
        more = ledger.samples.live(count, seed=seed + 1, since=max(1, since))
        known = {edit.id for edit in young}
        fill = [edit.id for edit in more if edit.id not in known and _was_live(edit, generation)]
        drawn += [(edit_id, age) for edit_id in fill[: count - len(young)]]
    return FactSample(first=first, drawn=tuple(drawn), whole=len(edits) < count)


def next_facts(
    draw: FactSample, ledger: Ledger, model: AnswersPrompts, *, count: int, seed: int
) -> tuple[list[LiveFact], FactSample, bool]:
    """The next facts to ask, the sample without them, and whether it is now exhausted."""
    if draw.everything:
        edits = ledger.samples.live_page(draw.after, count)
        rest = draw.model_copy(update={"after": edits[-1].id if edits else draw.after})
        asked = [(edit, "") for edit in edits]
        exhausted = len(edits) < count
    else:
        part = draw.drawn[:count]
        found = {edit.id: edit for edit in ledger.generations.live_among([edit_id for edit_id, _ in part])}
        rest = draw.model_copy(update={"drawn": draw.drawn[count:]})
        asked = [(found[edit_id], window) for edit_id, window in part if edit_id in found]
        exhausted = not rest.drawn
    askable = [
        (edit, window)
        for edit, window in asked
        # What cannot answer is told by an alert of its own, and no later edit is to blame for it.
        if _was_live(edit, model.generation)
        and edit.id not in model.unserved
        and model.fits(edit.prompt or "")
    ]
    older = ledger.samples.older_values([edit for edit, _ in askable])
    facts = [
        LiveFact(
            edit_id=edit.id,
            prompt=edit.prompt or "",
            answer=edit.target_new or "",
            ages=frozenset([window]) if window else _ages(edit, draw.first),
            rephrase=one_rephrase(edit, model, seed),
            older=older.get(edit.id, ()),
        )
        for edit, window in askable
    ]
    return facts, rest, exhausted


def _was_live(edit: Edit, generation: int) -> bool:
    """Live now and since before that generation: so it was live in it."""
    return edit.generation is not None and edit.generation <= generation


def _ages(edit: Edit, first: dict[str, int | None]) -> frozenset[str]:
    young = [age for age, since in first.items() if since is not None and (edit.generation or 0) >= since]
    return frozenset(("all", *young))


def one_rephrase(edit: Edit, model: AnswersPrompts, seed: int) -> str | None:
    """One of the phrasings that came with the event, chosen by hash sampling."""
    readable: Sequence[str] = [prompt for prompt in edit.event.rephrase_prompts if model.fits(prompt)]
    return min(readable, key=lambda prompt: sampling_hash(prompt, seed), default=None)
