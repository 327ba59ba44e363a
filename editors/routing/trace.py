"""Why an edit fired, or none did: what the scope index found in a prompt, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from editors.index.hops import further_hop
from editors.index.text_index import asked_parts, turns_with_names
from editors.index.wording.contrasts import excluding_words
from editors.index.wording.questions import find_name
from editors.routing.scope_router import MAX_CANDIDATES, UNROUTED, Judged, Route, ScopeRouter
from edits.names.surface import read_text, words_of
from edits.prompts import Prompt
from edits.text import counted


@dataclass(frozen=True, slots=True)
class CandidateTrace:
    """One edit that the prompt may be about.

    Attributes:
        subject: the first of its names.
        name: what stands for its name in the prompt.
        exact: whether it stands there exactly, or only nearly.
        asked: the parts of the prompt that were compared with its question, the name masked.
        probability: that its question is asked, by the text (0..1); None: the text was not read.
        base_agrees: whether the base answers both alike; None: it was not asked.
        base_probability: that it gives the prompt the answer it gives to the edit's.
        evidence: what that adds to the text's log odds; 0 for an edit without text, where it decides alone.
        score, threshold: it fires where the one reaches the other.
    """

    edit_id: str
    subject: str
    name: str
    exact: bool
    asked: tuple[str, ...]
    probability: float | None
    likeness: float
    base_agrees: bool | None
    base_probability: float | None
    evidence: float
    score: float
    threshold: float
    fires: bool
    chosen: bool
    why: str


@dataclass(frozen=True, slots=True)
class RouteTrace:
    """How one prompt was routed.

    Attributes:
        edit_id, score: the edit that fired, and how sure the index is; None and 0: the base answers.
        verbatim: edits whose own prompt this is to the letter, which decides by itself.
        names: the names that stand in the prompt, the longest first.
        candidates: the edits that were compared, those that fire first, then by score.
        why: all of it in one sentence.
    """

    edit_id: str | None
    score: float
    verbatim: tuple[str, ...]
    names: tuple[str, ...]
    candidates: tuple[CandidateTrace, ...]
    why: str


def explain(router: ScopeRouter | None, prompt: Prompt, route: Route | None = None) -> RouteTrace:
    """Route a prompt once more and keep what was found on the way.

    Args:
        router: the scope index; None: no live edit is routed by it.
        route: the route that was taken in the end, where other routers were asked, too.
    """
    if router is None or not len(router):
        taken = route or UNROUTED
        return RouteTrace(taken.edit_id, taken.score, (), (), (), _outcome(taken, (), ()))
    taken = route or router.route([prompt])[0]
    verbatim = tuple(router.with_prompt(prompt))
    judged = router.judge([prompt], router.candidates([prompt]))
    turn, _ = turns_with_names(prompt, router.find)
    ordered = sorted(judged, key=lambda one: (not one.fires, -one.score, one.candidate.edit_id))
    candidates = tuple(_candidate(router, prompt, turn, one, taken, verbatim) for one in ordered)
    names = tuple(sorted({one.name for one in candidates}, key=lambda name: (-len(name.split()), name)))
    why = _outcome(taken, verbatim, candidates)
    return RouteTrace(taken.edit_id, taken.score, verbatim, names, candidates, why)


def _candidate(
    router: ScopeRouter, prompt: Prompt, turn: str, one: Judged, taken: Route, verbatim: Sequence[str]
) -> CandidateTrace:
    candidate, entry = one.candidate, router.entry(one.candidate.edit_id)
    reads_text = candidate.reads_text
    asked = tuple(asked_parts(prompt, candidate.names)) if reads_text else ()
    chosen = candidate.edit_id == taken.edit_id
    return CandidateTrace(
        edit_id=candidate.edit_id,
        subject=entry.surface_forms[0],
        name=_name_in(turn, entry.surface_forms, candidate.names, exact=candidate.words > 0),
        exact=candidate.words > 0,
        asked=asked,
        probability=one.match.probability if reads_text else None,
        likeness=one.match.likeness,
        base_agrees=None if one.reading is None else one.reading.agrees,
        base_probability=None if one.reading is None else one.reading.probability,
        evidence=one.evidence,
        score=one.told_score,
        threshold=one.threshold,
        fires=one.fires,
        chosen=chosen,
        why=_why(one, asked=asked, reads_text=reads_text, chosen=chosen, verbatim=bool(verbatim)),
    )


def _name_in(turn: str, forms: Sequence[str], near: Sequence[tuple[str, ...]], *, exact: bool) -> str:
    if not exact:
        return max((" ".join(words) for words in near), key=len, default=forms[0])
    read = read_text(turn)
    standing = [form for form in forms if find_name(read, [words_of(form)])]
    return max(standing, key=lambda form: len(words_of(form)), default=forms[0])


def _why(one: Judged, *, asked: Sequence[str], reads_text: bool, chosen: bool, verbatim: bool) -> str:
    if chosen and verbatim:
        return "the prompt is its own, to the letter"
    if chosen or one.fires:
        reached = f"its score of {one.score:.3f} reaches the {one.threshold:.3f} needed"
        better = "another edit's name is longer, its score is higher, or the prompt is its own"
        return f"{reached}, and no other edit fits better" if chosen else f"{reached}, but {better}"
    numbers = f"{one.score:.3f} of the {one.threshold:.3f} needed"
    if reads_text and not asked:
        return "its name stands there, but nothing is asked of it"
    if one.candidate.words == 0 and one.reading is not None and not one.reading.agrees:
        return f"its name stands there only nearly, and the base does not confirm it: {numbers}"
    if not reads_text and one.reading is None:
        return "its index has no text, and there was no base to ask: send its event again under a new id"
    return f"its name stands there, but another question is asked: {_excluding(one, asked) or numbers}"


def _excluding(one: Judged, asked: Sequence[str]) -> str:
    """What in the wording tells its question from what was asked, where something does."""
    shard, row = one.candidate.expert.shard, one.candidate.expert.row
    own = [shard.header.questions[place].text for place in shard.own_questions(row)][:1]
    pairs = [(text, question) for question in own for text in asked]
    if (found := next(filter(None, (excluding_words(*pair) for pair in pairs)), None)) is not None:
        theirs, its = (f'"{word}"' if word else "no such word" for word in found)
        return f"it has {theirs}, and the edit's question {its}"
    noun = next(filter(None, (further_hop(*pair) for pair in pairs)), None)
    return "" if noun is None else f'one of the two asks for the "{noun}" of what the other asks for'


def _outcome(route: Route, verbatim: Sequence[str], candidates: Sequence[CandidateTrace]) -> str:
    if route.edit_id is not None:
        chosen = next((one for one in candidates if one.chosen), None)
        found = f": {chosen.why}" if chosen is not None else f", with a score of {route.score:.3f}"
        return f"edit {route.edit_id} fires" + (
            found if not verbatim or chosen else ": the prompt is its own"
        )
    if not candidates:
        return "no edit fires: the prompt names no subject of a live edit"
    best = max(candidates, key=lambda one: one.score)
    most = (
        f" (of more, only the first {MAX_CANDIDATES} are looked at)"
        if len(candidates) >= MAX_CANDIDATES
        else ""
    )
    return (
        f"no edit fires: {counted(len(candidates), 'live edit', 'is', 'are')} named{most}, but none is asked for; "
        f"the nearest, edit {best.edit_id}, has {best.score:.3f} of the {best.threshold:.3f} needed"
    )
