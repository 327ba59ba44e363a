"""What a shard's header says: which editor made it, for which base, and how each of its edits fires."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass

# What decides that an edit of the shard fires: Upkeep's scope index, SCEN's indexing neurons, LEMoE's KV anchors.
Routing = Literal["scope", "neuron", "kv_anchor"]
ROUTINGS: tuple[Routing, ...] = ("scope", "neuron", "kv_anchor")  # in the order in which they are asked

MAX_ANSWER_TOKENS = 256  # that are kept of the base's answer
LARGEST_ODDS = 100.0  # log odds that are kept: more is certainty
MAX_COUNT = 1_000_000_000  # probes, over all batches of a base

TokenId = Annotated[int, Field(ge=0)]
# One string for all shards that are held.
_Hash = Annotated[str, Field(max_length=100), AfterValidator(sys.intern)]


class ShardEntry(BaseModel):
    """One edit of a shard: row i of every per-edit tensor belongs to `entries[i]`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    edit_id: str = Field(min_length=1, max_length=200)
    surface_forms: tuple[str, ...] = Field(min_length=1, max_length=64)
    base_answer_ids: tuple[TokenId, ...] = Field((), max_length=MAX_ANSWER_TOKENS)
    confidence: float = Field(0.0, ge=0.0, le=1.0)
    threshold: float = Field(ge=0.0, le=1.0)
    near_name: str | None = Field(
        None, max_length=2048, description="the name that may be found approximately"
    )
    prompt_sha256: str | None = Field(
        None, max_length=64, description="a prompt that is the edit's own to the letter needs no reading"
    )
    answer_ids: tuple[TokenId, ...] = Field(
        (),
        max_length=MAX_ANSWER_TOKENS,
        description="kept by earlier releases, read by none",
    )
    # The alias is its name on disk, where it stays: digests are of the bytes.
    required_words: tuple[str, ...] = Field(
        (), max_length=512, alias="firm_words", description="words of the near name that may not be missing"
    )
    relation: str | None = Field(None, max_length=512, description="its facts share their phrasings")
    odds: float | None = Field(
        None,
        ge=-LARGEST_ODDS,
        le=LARGEST_ODDS,
        description="log odds from which a text asks it; None: the base alone decides",
    )


class IndexedQuestion(BaseModel):
    """One text that the index compares prompts with, its name masked: row i of `scope.text` is the vector of `questions[i]`.

    Of an edit (its own question first, then the phrasings that came with it) or, without one, known of a relation. Where no
    encoder read it, its words still tell it from another edit's question.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(max_length=8192)
    edit_id: str | None = Field(None, max_length=200)
    relation: str | None = Field(None, max_length=512)


# Tuples where a shard is made; of a stored one, rows that are read as they are asked for.
_Entries: TypeAlias = Annotated[
    Sequence[ShardEntry], GetPydanticSchema(lambda _, handler: handler(tuple[ShardEntry, ...]))
]
_Questions: TypeAlias = Annotated[
    Sequence[IndexedQuestion], GetPydanticSchema(lambda _, handler: handler(tuple[IndexedQuestion, ...]))
]


# Dataclasses: each shard that is held has both, and models would take 1.4 kB more.
@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Agreement:
    """How far the base's own answer tells one question from another: how often it gave the edit's own answer.

    Counted where the base is sure of that answer: to the edit's prompt behind other text, and to other questions.
    """

    same: int = Field(default=0, ge=0, le=MAX_COUNT, description="prompts that ask the edit's question")
    same_agreed: int = Field(default=0, ge=0, le=MAX_COUNT)
    other: int = Field(
        default=0, ge=0, le=MAX_COUNT, description="prompts that ask something else of its subject"
    )
    other_agreed: int = Field(default=0, ge=0, le=MAX_COUNT)

    def __add__(self, more: "Agreement") -> "Agreement":
        mine, theirs = asdict(self), asdict(more)
        return Agreement(**{name: count + theirs[name] for name, count in mine.items()})

    def __post_init__(self) -> None:
        if self.same_agreed > self.same or self.other_agreed > self.other:
            raise ValueError("more prompts agreed than were asked")

    @property
    def sensitivity(self) -> float:
        """How often one question had one answer, 0..1; 0 where nothing was counted."""
        return self.same_agreed / (self.same + 1)

    @property
    def specificity(self) -> float:
        """How much better than a coin another question was told by its answer, 0..1; 0 where nothing was counted.

        Two of four imagined prompts agree, so that few probes prove little (Agresti & Coull 1998).
        """
        return max(0.0, 1 - 2 * (self.other_agreed + 2) / (self.other + 4))


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Calibration:
    """How the scope index's thresholds of one shard were found, and what they did on the prompts they were found on."""

    target_false_fire: float = Field(
        ge=0.0, le=1.0, description="share of prompts out of scope that may fire"
    )
    threshold: float = Field(ge=0.0, le=1.0, description="of the edits whose own request says nothing else")
    near_coverage: float = Field(ge=0.0, le=1.0, description="how much of an approximate name must be there")
    negatives: int = Field(ge=0, description="prompts that must not fire")
    false_fire: float | None = Field(ge=0.0, le=1.0, description="share of them that do")
    positives: int = Field(ge=0, description="prompts that must fire")
    miss: float | None = Field(ge=0.0, le=1.0, description="share of them that do not")
    agreement: Agreement = Agreement()


class ShardHeader(BaseModel):
    """What the weights mean: which editor made them, for which base and which layer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # 1: no `routing`, all edits are routed by scope; 2: entries without their prompt and answer; 3: no text in the index
    format: Literal[1, 2, 3, 4] = 4
    editor: str = Field(max_length=50)
    routing: Routing = "scope"
    sequence: int = Field(
        0, ge=0, description="LEMoE's paper mode: batches that its projection had seen before"
    )
    base_hash: _Hash
    encoder_hash: _Hash | None = Field(None, description="of the scope index; None: it reads no text")
    layer: int = Field(ge=0, lt=10_000)
    settings: dict[str, int | float | str | bool]
    calibration: Calibration | None = None
    entries: _Entries = Field(min_length=1, max_length=100_000)
    questions: _Questions = Field((), max_length=1_000_000)

    def over(self, entries: Sequence[ShardEntry], questions: Sequence[IndexedQuestion]) -> "ShardHeader":
        """The same header with these rows, unchecked, as a stored shard holds it."""
        fields = {**dict(self), "entries": entries, "questions": questions}
        return ShardHeader.model_construct(_fields_set=_ALL_FIELDS, **fields)

    @field_serializer("entries", "questions", mode="wrap")
    def _plain_rows(self, rows: Sequence[BaseModel], write: SerializerFunctionWrapHandler) -> Any:
        return write(tuple(rows))  # those of a stored shard are packed

    @model_validator(mode="after")
    def _scope_has_its_signals(self) -> "ShardHeader":
        silent = [entry for entry in self.entries if not entry.base_answer_ids and entry.odds is None]
        if self.routing == "scope" and silent:
            raise ValueError(
                "an edit that is routed by scope needs the base's answer to its prompt, or its text"
            )
        if self.encoder_hash is None and any(entry.odds is not None for entry in self.entries):
            raise ValueError("an edit that is routed by its text needs the encoder that read it")
        if self.format == 1 and (self.routing, self.sequence) != ("scope", 0):
            raise ValueError("format 1 knows no routing but by scope")
        return self


# Which of its fields were given, each model remembers in a set of 700 bytes: here it is one for all shards that are held.
_ALL_FIELDS = set(ShardHeader.model_fields)
