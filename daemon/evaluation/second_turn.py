"""Paraphrases as the second turn of a conversation: the first names the subject, the second only says "it"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemon.evaluation.evaluation_report import SecondTurn
from daemon.evaluation.facts_file import EvaluationFact
from daemon.evaluation.pronouns import Pronoun, introduction_of, pronoun_for, refer_back
from daemon.evaluation.questions import AnsweredQuestions, ScoredQuestion
from editors.base.base import Base
from editors.inference.edited_model import EditedModel
from editors.inference.scoring import score_answers
from edits.ids import EditId
from edits.prompts import Conversation, Message, asked_in_chat
from edits.recency import by_arrival

FIRST_ANSWER_TOKENS = 48  # of the base's output about the subject; what follows is dropped


@dataclass(frozen=True, slots=True)
class SecondTurns:
    """What is asked, and how much is not: texts without the name as written, or too long for the base."""

    paraphrases: list[ScoredQuestion]
    others: list[Conversation]
    left_out: int

    def __len__(self) -> int:
        return len(self.paraphrases) + 2 * len(self.others)


def second_turns(base: Base, live: Mapping[EditId, EvaluationFact], others: Sequence[str]) -> SecondTurns:
    """Conversations about the live facts' subjects.

    Args:
        others: the subjects' other questions that may be asked: those that no edit shall answer.
    """
    subjects = list(dict.fromkeys(fact.subject.strip() for fact in live.values()))
    openings = [introduction_of(subject) for subject in subjects]
    outputs = base.generate([asked_in_chat(text) for text in openings], max_new_tokens=FIRST_ANSWER_TOKENS)
    replies = dict(zip(subjects, outputs, strict=True))
    may_ask = set(others)
    paraphrases: list[ScoredQuestion] = []
    probes: list[Conversation] = []
    left_out = 0
    for edit_id in by_arrival(live):
        fact = live[edit_id]
        name = fact.subject.strip()
        questions = (fact.prompt, *fact.rephrase_prompts, *fact.locality_prompts.subject)
        pronoun = pronoun_for(" ".join(questions), name, replies[name])
        for text in fact.rephrase_prompts:
            asked = _second_turn(text, name, replies[name], pronoun)
            if asked is None or not base.can_answer(asked, fact.target_new):
                left_out += 1
            else:
                paraphrases.append(ScoredQuestion(asked, fact.target_new, edit_id, fact.ground_truth))
        for text in fact.locality_prompts.subject:
            asked = _second_turn(text, name, replies[name], pronoun) if text in may_ask else None
            if asked is not None and base.fits(asked):
                probes.append(asked)
    return SecondTurns(paraphrases, list(dict.fromkeys(probes)), left_out)


def score_second_turns(model: EditedModel, turns: SecondTurns, *, tokens: int) -> SecondTurn:
    """A paraphrase's answer holds the new value; another question about the subject is answered as by the base."""
    asked = AnsweredQuestions(model, turns.paraphrases, form="chat", tokens=tokens)
    edited = model.generate(turns.others, max_new_tokens=tokens) if turns.others else []
    base = model.base.generate(turns.others, max_new_tokens=tokens) if turns.others else []
    return SecondTurn(
        generality=asked.score,
        miss=asked.miss,
        locality_subject=score_answers(edited, base),
        asked=len(turns.paraphrases),
        left_out=turns.left_out,
    )


def _second_turn(text: str, name: str, reply: str, pronoun: Pronoun) -> Conversation | None:
    question = refer_back(text, name, pronoun)
    if question is None:
        return None
    return Conversation(
        (
            Message("user", introduction_of(name)),
            Message("assistant", reply),
            Message("user", question),
        )
    )
