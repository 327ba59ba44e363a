"""Facts and probes for `upkeep evaluate`, read from JSONL files of the form of evaluation.md; every line is checked."""

import codecs
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from daemon.events.fact_event import fact_key_of, prompt_key
from daemon.events.strict_json import without_nulls
from edits.errors import PermanentError
from edits.ids import EditId
from edits.requests import EditRequest
from planners import Pending

MAX_LINE_BYTES = 1 << 20
MAX_LINES = 1_000_000
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

_Model = TypeVar("_Model", bound=BaseModel)
Text = Annotated[str, Field(pattern=r"\S", max_length=8192)]


class BadFile(PermanentError):
    """A facts or probes file cannot be read; the message names the file and the line."""


class FileModel(BaseModel, frozen=True):
    """A part of a line; `null` is read as absent."""

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        return without_nulls(value)


class LocalityProbes(FileModel, frozen=True):
    """Prompts whose answer must stay the base's, by how near they are to the edit."""

    relation: tuple[Text, ...] = ()
    subject: tuple[Text, ...] = ()


class Reasoning(FileModel, frozen=True):
    """A question whose answer follows from the edited fact."""

    prompt: Text
    answer: Text


class PortabilityPrompts(FileModel, frozen=True):
    """Prompts that name the subject otherwise, and questions that follow from the fact."""

    alias: tuple[Text, ...] = ()
    reasoning: tuple[Reasoning, ...] = ()


class EvaluationFact(FileModel, frozen=True):
    """One line of a facts file; what is for scoring alone never reaches an editor."""

    subject: Text
    prompt: Text
    target_new: Text
    relation: Text | None = None
    ground_truth: str | None = None
    aliases: tuple[Text, ...] = ()
    rephrase_prompts: tuple[Text, ...] = ()
    locality_prompts: LocalityProbes = LocalityProbes()
    yes_prompts: tuple[Text, ...] = ()
    no_prompts: tuple[Text, ...] = ()
    portability_prompts: PortabilityPrompts = PortabilityPrompts()

    @property
    def fact_key(self) -> str:
        """What makes two lines speak of one fact, as in the ledger: subject and relation, else the prompt."""
        return fact_key_of(self.subject, self.relation, self.prompt)

    @property
    def yes_no(self) -> tuple[str, ...]:
        """The fact asked as yes or no, which the edit's bare value does not answer."""
        return (*self.yes_prompts, *self.no_prompts)


class EvaluationProbe(FileModel, frozen=True):
    """One line of a probes file."""

    prompt: Text
    kind: str = "far"


@dataclass(frozen=True, slots=True)
class Readable:
    """The facts and probes that a base can read, by their place in the file; `left_out` counts the others by kind."""

    facts: dict[EditId, EvaluationFact]
    far: tuple[str, ...]
    left_out: dict[str, int]


def readable(
    facts: Sequence[EvaluationFact], far: Iterable[str], can_ask: Callable[[str, str], bool]
) -> Readable:
    """What is left when everything goes that the base cannot read.

    Args:
        can_ask: whether the base can read a prompt and has room for an answer behind it.
    """
    gone: Counter[str] = Counter()

    def readable_of(kind: str, prompts: Iterable[str], answer: str = "") -> tuple[str, ...]:
        asked = tuple(prompts)
        fitting = tuple(prompt for prompt in asked if can_ask(prompt, answer))
        gone[kind] += len(asked) - len(fitting)
        return fitting

    found: dict[EditId, EvaluationFact] = {}
    for index, fact in enumerate(facts):
        if not readable_of("facts", [fact.prompt], fact.target_new):
            continue
        near, further = fact.locality_prompts, fact.portability_prompts
        reasoning = tuple(r for r in further.reasoning if readable_of("reasoning", [r.prompt], r.answer))
        found[str(index)] = fact.model_copy(
            update={
                "rephrase_prompts": readable_of("rephrase", fact.rephrase_prompts, fact.target_new),
                "locality_prompts": LocalityProbes(
                    relation=readable_of("relation", near.relation),
                    subject=readable_of("subject", near.subject),
                ),
                "yes_prompts": readable_of("yes_no", fact.yes_prompts),
                "no_prompts": readable_of("yes_no", fact.no_prompts),
                "portability_prompts": PortabilityPrompts(
                    alias=readable_of("alias", further.alias, fact.target_new), reasoning=reasoning
                ),
            }
        )
    return Readable(found, readable_of("far", far), dict(gone))


def read_facts(path: Path, limit: int | None) -> list[EvaluationFact]:
    """The first `limit` facts of a file.

    Raises:
        BadFile: it cannot be read, holds no fact, or a line is not a fact.
    """
    facts = list(_read(path, EvaluationFact, limit))
    if not facts:
        raise BadFile(f"{path} holds no facts")
    return facts


def read_probes(path: Path) -> list[EvaluationProbe]:
    """All probes of a file.

    Raises:
        BadFile: it cannot be read, or a line is not a probe.
    """
    return list(_read(path, EvaluationProbe, None))


def pending_edit(edit_id: EditId, fact: EvaluationFact) -> Pending:
    """The fact as a pending edit of the batch lane; its id, its place in the file, tells when it arrived."""
    place = int(edit_id)
    return Pending(
        edit_id=edit_id,
        op="assert",
        subject=fact.subject,
        relation=fact.relation,
        prompt=fact.prompt,
        fact_key=fact.fact_key,
        prompt_key=prompt_key(fact.prompt),
        urgent=False,
        occurred_at=_EPOCH + timedelta(seconds=place),
        offset=place,
        target_new=fact.target_new,
    )


def edit_request(edit_id: EditId, fact: EvaluationFact) -> EditRequest:
    """What an editor sees of a fact: nothing that it is scored on."""
    return EditRequest(
        edit_id=edit_id,
        subject=fact.subject,
        prompt=fact.prompt,
        target_new=fact.target_new,
        ground_truth=fact.ground_truth,
        relation=fact.relation,
        aliases=fact.aliases,
        accepted=True,  # a fact that an event would be refused for is judged, as one that never fires
    )


def _read(path: Path, form: type[_Model], limit: int | None) -> Iterator[_Model]:
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE_BYTES + 1), b""), start=1):
                if limit is not None and number > limit:
                    return
                if len(line) > MAX_LINE_BYTES or number > MAX_LINES:
                    raise BadFile(f"{path} line {number}: over {MAX_LINE_BYTES} bytes or {MAX_LINES} lines")
                if line.strip():
                    yield _parse(line, form, f"{path} line {number}")
    except OSError as error:
        raise BadFile(f"cannot read {path}: {error.strerror}") from error


def _parse(line: bytes, form: type[_Model], where: str) -> _Model:
    try:
        return form.model_validate_json(line.removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the line"
        raise BadFile(f"{where}: {field}: {first['msg']}") from error
