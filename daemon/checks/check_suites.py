"""What a check asks: the probe files of the settings, and the probes that the ledger itself knows.

Of the ledger, a suite takes what was *not* edited: locality prompts that came with events; the facts of events that did
not get through or were taken back; and relations that it knows, asked of subjects for which nobody sent them. All of it
is drawn at random from the ledger, so that a check costs the same however large that is.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence

from daemon.events.fact_event import fact_key, prompt_key
from daemon.ledger import Ledger
from daemon.ledger.values import CheckResult, Edit, EditState
from daemon.settings.settings import Settings
from edits.ids import EditId
from edits.names.everyday import why_no_name
from edits.names.surface import SurfaceIndex
from monitoring.checks.parity import PARITY
from monitoring.checks.regression import AnswersPrompts
from monitoring.checks.suites import (
    KINDS,
    SHIPPED_TEXT,
    BadSuite,
    Probe,
    ProbeSuite,
    distinct,
    load_suite,
    load_texts,
)
from monitoring.checks.tally import RETENTION

TEXT = "text"
FAR = "far"
OWN_SUITES = (*KINDS, RETENTION)
MAX_SUITE_NAME = 100
MAX_NAMED = 64  # live edits that one probe names: of more it is unknown which it may ask for

_NOT_EDITED = frozenset(EditState) - {EditState.LIVE}


def known_suites(settings: Settings) -> tuple[str, ...]:
    """The names of all suites, those that Upkeep keeps by itself first.

    Raises:
        BadSuite: a probe file has a name that it cannot have.
    """
    for name in settings.monitoring.suites:
        if name == RETENTION:
            raise BadSuite(
                "monitoring.suites: `retention` asks the live edits; give the probe file another name"
            )
        if name == PARITY:
            raise BadSuite(
                "monitoring.suites: `parity` compares the gateway; give the probe file another name"
            )
        if not name or name.startswith("*") or len(name) > MAX_SUITE_NAME:
            raise BadSuite(
                f"monitoring.suites: a suite's name has 1 to {MAX_SUITE_NAME} characters, the first no *"
            )
    return tuple(dict.fromkeys((*OWN_SUITES, *settings.monitoring.suites)))


def require_known(suite: str | None, settings: Settings) -> None:
    """Let the name of a suite pass, or none.

    Raises:
        BadSuite: no suite has that name.
    """
    known = known_suites(settings)
    if suite is not None and suite not in known:
        raise BadSuite(f"no suite is called {suite!r}; known: {', '.join(known)}")


def fixed_probes(name: str, settings: Settings) -> tuple[Probe, ...]:
    """The probes of files: those of the settings, and for `text` the running text.

    Raises:
        BadSuite: a file cannot be read.
    """
    path = settings.monitoring.suites.get(name)
    probes = () if path is None else load_suite(name, path).probes
    if name != TEXT:
        return probes
    return distinct((*probes, *load_texts(name, settings.monitoring.text or SHIPPED_TEXT).probes))


def lacks_far(results: Iterable[CheckResult]) -> bool:
    """Whether nothing of these results says that unrelated prompts are answered as before."""
    return not any(result.suite == FAR and result.probes for result in results)


def baseline_of(name: str, fixed: Sequence[Probe], *, base_hash: str, max_new_tokens: int) -> str:
    """What results of a suite must have in common to be compared: its files' probes, the base, the longest answer."""
    content = [name, base_hash, max_new_tokens, [[probe.prompt, probe.kind, probe.answer] for probe in fixed]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def ledger_probes(name: str, ledger: Ledger, *, count: int, seed: int) -> tuple[tuple[Probe, ...], bool]:
    """Up to about `count` probes of one kind that the ledger knows, and whether these are all that it knows."""
    if name not in ("far", "relation", "subject"):
        return (), True
    live = ledger.samples.live(count, seed=seed)
    others = ledger.samples.asserted(_NOT_EDITED, count, seed=seed)
    prompts = [prompt for edit in (*live, *others) for prompt in getattr(edit.event.locality_prompts, name)]
    if name != "far":
        edited = {edit.subject for edit in live}
        found = (*_unedited_facts(ledger, live, others), *_unasked_pairs(ledger, live, others))
        prompts += [prompt for subject, prompt in found if (subject in edited) == (name == "subject")]
    probes = distinct(Probe(prompt, name) for prompt in prompts)
    whole = len(live) < count and len(others) < count and len(probes) <= count
    return ProbeSuite(name, probes).in_sample_order(seed=seed)[: 2 * count], whole


def _unedited_facts(ledger: Ledger, live: Sequence[Edit], others: Sequence[Edit]) -> list[tuple[str, str]]:
    """(subject, prompt) of facts that an event stated but no live edit has, where some live edit has their relation."""
    relations = {edit.event.relation for edit in live if edit.event.relation is not None}
    facts = [edit for edit in others if edit.relation in relations and edit.prompt is not None]
    edited = ledger.samples.live_facts({edit.fact_key for edit in facts})
    return [(edit.subject, edit.prompt or "") for edit in facts if edit.fact_key not in edited]


def _unasked_pairs(ledger: Ledger, live: Sequence[Edit], others: Sequence[Edit]) -> list[tuple[str, str]]:
    """(subject, prompt) of known relations, asked of known subjects for which no event states them.

    Only relations that the ledger knows together of some subject: what a country has, no singer is asked for.
    """
    known: dict[str, dict[str, Edit]] = {}
    for edit in (*live, *others):
        if edit.relation is not None and edit.prompt is not None and edit.subject in edit.prompt:
            known.setdefault(edit.subject, {}).setdefault(edit.relation, edit)
    co_occurring: dict[str, set[str]] = {}
    for found in known.values():
        for relation in found:
            co_occurring.setdefault(relation, set()).update(found)
    asked: dict[str, tuple[str, str]] = {}
    by_relation = {relation: edit for found in known.values() for relation, edit in found.items()}
    for subject, found in known.items():
        for relation in sorted({other for own in found for other in co_occurring[own]} - found.keys()):
            model = by_relation[relation]
            key = fact_key(model.event.model_copy(update={"subject": subject}))
            asked[key] = (subject, (model.prompt or "").replace(model.subject, subject))
    edited = ledger.samples.live_facts(asked)
    return [pair for key, pair in sorted(asked.items()) if key not in edited]


class Scope:
    """What the live edits may rightly change: a probe in their scope says nothing about locality."""

    def __init__(self, ledger: Ledger, model: AnswersPrompts) -> None:
        self._ledger = ledger
        self._model = model
        self._subjects = SurfaceIndex()
        self._prompts: dict[EditId, frozenset[str]] = {}  # of the edits that were looked up

    def holds(self, probe: Probe) -> bool:
        """Whether the probe asks what an edit was made for, or names an edited subject.

        A subject of function words alone ("The") is no name: what its edit changes elsewhere is a failure. A "subject"
        probe names its subject on purpose; but of a subject with several live edits it is unknown which of them
        the probe may ask for. Running text asks nothing: whatever fires on it is wrong.
        """
        named = set(self._model.named(probe.prompt)) if probe.kind != TEXT else set()
        if not named:
            return False
        if len(named) > MAX_NAMED or not self._look_up(named):
            return True
        key = prompt_key(probe.prompt)
        found = self._subjects.find(probe.prompt).keys() & named
        return any(key in self._prompts[edit_id] for edit_id in named) or len(found) > (
            1 if probe.kind == "subject" else 0
        )

    def _look_up(self, edit_ids: Collection[EditId]) -> bool:
        """Know these edits' names and prompts; False where one of them is no longer live in the ledger."""
        unknown = [edit_id for edit_id in edit_ids if edit_id not in self._prompts]
        for edit in self._ledger.generations.live_among(unknown) if unknown else ():
            names = (edit.subject, *edit.event.aliases)
            means = [name for name in names if why_no_name(name, edit.prompt or "") is None]
            self._subjects.add(edit.id, means)
            asked = (edit.prompt or "", *edit.event.rephrase_prompts)
            self._prompts[edit.id] = frozenset(_keys(asked))
        return all(edit_id in self._prompts for edit_id in edit_ids)


def _keys(prompts: Iterable[str]) -> list[str]:
    return [prompt_key(prompt) for prompt in prompts]
