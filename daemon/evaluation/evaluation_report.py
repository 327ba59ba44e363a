"""What `upkeep evaluate` reports: the form of its JSON."""

from typing import Any

from pydantic import BaseModel


class _Scores(BaseModel, frozen=True):
    """One object of the report."""


class Kinds(_Scores):
    """One number per kind of locality probe; None where there is no probe."""

    far: float | None
    relation: float | None
    subject: float | None


class FalseFire(Kinds):
    """The same, and the fact asked as yes or no, and questions of two hops through it."""

    yes_no: float | None
    two_hop: float | None


class Pair(_Scores):
    """Reliability and generality."""

    reliability: float | None
    generality: float | None


class Routing(_Scores):
    """What the scope index did: on held-out rephrases, and on probes that no edit may answer.

    `unreadable_yes_no` of the yes/no questions were not asked because the base cannot read them.
    """

    right_expert: float | None
    miss: float | None
    false_fire: FalseFire
    unreadable_yes_no: int


class Portability(_Scores):
    """Other names of the subject; questions that follow from the fact."""

    alias: float | None
    reasoning: float | None


class Oldest(_Scores):
    """The oldest edits that are still live: how they answered when they were new, and after all the others."""

    edits: int
    reliability_new: float | None
    reliability_final: float | None


class Speed(_Scores):
    """Generated tokens a second on the edits' own prompts."""

    base: float
    edited: float


class Encoder(_Scores):
    """The sentence encoder that the scope index reads with."""

    place: str
    hash: str


class InContext(_Scores):
    """No edit: where the index fires, the fact stands in the prompt, and the base answers.

    `reliability`, `generality` and `locality` are judged as the edited model's; `contains` counts any answer that holds the
    value, in both forms. `extra_prompt_tokens` is a mean over the prompts where the index fires, `seconds_ratio` its time
    for the edits' prompts and rephrases by the edited model's for the same.
    """

    reliability: float | None
    generality: float | None
    contains: Pair
    locality: Kinds
    extra_prompt_tokens: float | None
    seconds_ratio: float | None


class SecondTurn(_Scores):
    """Asked with a pronoun after a first turn that named the subject; `left_out` paraphrases do not name it as written."""

    generality: float | None
    miss: float | None
    locality_subject: float | None
    asked: int
    left_out: int


class LeftOutCounts(_Scores):
    """How many prompts were not asked because the base cannot read them; `facts` count against reliability."""

    facts: int = 0
    rephrase: int = 0
    far: int = 0
    relation: int = 0
    subject: int = 0
    alias: int = 0
    reasoning: int = 0


class EvaluationReport(_Scores):
    """All scores (0..1 unless the name says a unit); None where the files lack the probes.

    Of the `requested` facts, `edits` are live at the end, `superseded` lost to a later fact with their prompt or, so the
    base found, with their question in other words, and
    `left_out.facts` cannot be read by the base: nothing was trained for those, and each is a failure in `reliability`.
    In plain form an answer is right if it is the target; in chat, if it says the target and not the ground truth. `exact` is
    the first rule in both; `ended`: answers to the edits' prompts and rephrases that stopped by themselves.
    """

    requested: int
    edits: int
    superseded: int
    left_out: LeftOutCounts
    reliability: float | None
    generality: float | None
    exact: Pair
    ended: float | None
    locality: Kinds
    locality_kl: Kinds
    teacher_forced: Pair
    routing: Routing
    in_context: InContext | None
    second_turn: SecondTurn | None
    portability: Portability
    retention: list[tuple[int, float | None, float | None]]
    oldest: Oldest
    stale_answer_rate: float | None
    edit_seconds_total: float
    edit_seconds_p50: float
    edit_seconds_p95: float
    bytes_per_edit: float
    peak_memory_bytes: int
    generation_tokens_per_second: Speed
    model: str
    base_hash: str
    encoder: Encoder | None
    form: str
    turns: int
    max_new_tokens: int
    facts: str
    editor: str
    mode: str
    editor_settings: dict[str, dict[str, Any]]  # of each editor that had a batch
    order: str
    batch_size: int
    seed: int
    machine: str
