"""Does the gateway answer as the model in process does? One question compared, many counted."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from edits.judging import is_stated
from monitoring.checks.regression import Answered
from monitoring.checks.tally import Failure, Scores, Share

PARITY = "parity"  # the name under which results are kept beside those of the suites
QuestionForm = Literal["prompt", "rephrase", "probe"]
QUESTION_FORMS: tuple[QuestionForm, ...] = ("prompt", "rephrase", "probe")
ParityOutcome = Literal["agrees", "differs", "not measured", "paused"]
MAX_DIFFERENCES = 64
MAX_TEXT_CHARS = 500  # of an answer that is kept as evidence


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParityQuestion(_Value):
    """What is asked both ways: a live edit's prompt or rephrase, with its id and its value, or a probe."""

    form: QuestionForm
    prompt: str
    edit_id: str | None = None
    wanted: str | None = None


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """What came through the gateway.

    Attributes:
        edit_id: the edit that fired; None: the base answered.
        generation: by which it was chosen; None: an error that names none.
        refused: why there is no answer.
    """

    text: str
    edit_id: str | None
    generation: int | None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """No answer that could be compared: the gateway or its engine is away or busy; `elsewhere`: at another generation."""

    reason: str
    elsewhere: bool = False


class ParityTally(_Value):
    """What was compared so far.

    Attributes:
        agreed: by form, of the questions that could be compared.
        unmeasured: how many could not be.
        reason: why the last of these could not be.
    """

    agreed: dict[QuestionForm, Share] = {form: Share() for form in QUESTION_FORMS}
    unmeasured: int = 0
    reason: str | None = None
    differences: tuple[Failure, ...] = ()

    @property
    def all(self) -> Share:
        """Over all forms."""
        return self.agreed["prompt"].plus(self.agreed["rephrase"]).plus(self.agreed["probe"])

    def counting(
        self, question: ParityQuestion, mine: Answered, theirs: GatewayAnswer | NotMeasured
    ) -> "ParityTally":
        """With one more question."""
        if isinstance(theirs, NotMeasured):
            return self.without(1, theirs.reason)
        same = agrees(question, mine, theirs)
        agreed = {**self.agreed, question.form: self.agreed[question.form].counting(same)}
        found = self.differences if same else (*self.differences, _difference(question, mine, theirs))
        return self.model_copy(update={"agreed": agreed, "differences": found[:MAX_DIFFERENCES]})

    def without(self, questions: int, reason: str) -> "ParityTally":
        """With so many more that could not be compared."""
        return self.model_copy(update={"unmeasured": self.unmeasured + questions, "reason": reason})

    def scores(self) -> Scores:
        """The scores under the names that the ledger keeps; None where nothing says."""
        low, high = self.all.interval()
        return {
            "agreement": self.all.ratio,
            "agreement_low": low,
            "agreement_high": high,
            **{f"agreement_{form}": self.agreed[form].ratio for form in QUESTION_FORMS},
            "unmeasured": float(self.unmeasured),
        }


def agrees(question: ParityQuestion, mine: Answered, theirs: GatewayAnswer) -> bool:
    """The same edit, or none, and answers that say the same.

    Two engines round differently, so that greedy texts may part after some words: an edit's value must stand in both, and
    elsewhere the first words must be the same.
    """
    if theirs.refused is not None or mine.edit_id != theirs.edit_id:
        return False
    if question.wanted is not None and is_stated(mine.text, question.wanted):
        return is_stated(theirs.text, question.wanted)
    return mine.text.split()[:1] == theirs.text.split()[:1]


def _difference(question: ParityQuestion, mine: Answered, theirs: GatewayAnswer) -> Failure:
    given = theirs.text if theirs.refused is None else f"({theirs.refused})"
    return Failure(
        prompt=question.prompt,
        wanted=mine.text[:MAX_TEXT_CHARS],
        given=given[:MAX_TEXT_CHARS],
        fired=theirs.edit_id,
        owner=question.edit_id or mine.edit_id,
    )
