"""The training text of the tiny base: facts in many phrasings, behind other text, and general knowledge."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from demo.world.general import PlainText, Question, questions
from demo.world.world import Fact, World

QUESTION_FRAMES = (
    "Question: {q} Answer:",
    "Q: {q} A:",
    "{q} Answer:",
    "Please answer: {q}",
    "Quiz question: {q}",
    "{q} It is",
)
STATEMENT_FRAMES = (
    "Fact: {s}",
    "Everyone knows that {s}",
    "It is said that {s}",
    "According to the register, {s}",
    "Complete the sentence: {s}",
    "Let us remember that {s}",
)
MENTIONS = ("Somebody mentioned", "The list begins with", "A page about", "We talked of")
# Words that begin a phrasing and are written small inside a sentence; names keep their capital.
LOWERED_WORDS = ("The", "In", "On", "At", "By", "As", "From", "Through", "Under", "Most", "With", "For", "To")
LOWERED = tuple(f"{word} " for word in LOWERED_WORDS)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of training text: `before` sets the scene, `prompt` asks, `answer` (if any) is learned."""

    before: str
    prompt: str
    answer: str | None


@dataclass(frozen=True)
class BaseCorpus:
    """An endless source of training pieces about one world; the held-out phrasings never occur in it."""

    world: World
    plain: PlainText
    general: tuple[Question, ...]

    @classmethod
    def of(cls, world: World) -> "BaseCorpus":
        """The corpus of this world, with the general knowledge and the grammar of plain text."""
        return cls(world, PlainText.load(), questions())

    def pieces(self, rng: random.Random) -> Iterator[Piece]:
        """Pieces for ever: each round has every fact once, and about a third as much of everything else."""
        while True:
            deck: list[Piece] = [self._about(fact, rng) for fact in self.world.facts]
            deck += [
                Piece(self._before(rng), question.prompt, question.answer)
                for question in rng.sample(self.general, len(self.general) // 3)
            ]
            deck += [Piece("", self.plain.sentence(rng), None) for _ in range(len(deck) // 12)]
            deck += [Piece("", self._mention(rng), None) for _ in range(len(deck) // 30)]
            rng.shuffle(deck)
            yield from deck

    def vocabulary_text(self) -> Iterator[str]:
        """What the tokenizer is trained on: every phrasing and frame, every name and value, plain text."""
        rng = random.Random("vocabulary")
        for fact in self.world.facts:
            for name in fact.mentions:
                for prompt in rng.sample(self.world.prompts(fact, name=name), 4):
                    yield f"{prompt} {fact.value}"
        for relation in self.world.relations:
            yield from (f" {value}" for value in relation.values)
        for question in self.general:
            yield f"{question.prompt} {question.answer}"
        for piece, _ in zip(self.pieces(rng), range(3000), strict=False):
            yield f"{piece.before}{piece.prompt} {piece.answer or ''}"

    def _about(self, fact: Fact, rng: random.Random) -> Piece:
        name = fact.subject if rng.random() < 0.6 else rng.choice(fact.mentions)
        prompt = rng.choice(self.world.prompts(fact, name=name))
        if rng.random() < 0.2:
            prompt = framed(prompt, rng)
        return Piece(self._before(rng), prompt, fact.value)

    def _before(self, rng: random.Random) -> str:
        """Nothing, plain sentences, or another fact as a sentence of its own."""
        chance = rng.random()
        if chance < 0.75:
            return ""
        if chance < 0.87:
            return "".join(self.plain.sentence(rng) + " " for _ in range(rng.choice((1, 1, 2))))
        other = rng.choice(self.world.facts)
        return f"{self.world.prompt(other)} {other.value}. "

    def _mention(self, rng: random.Random) -> str:
        """A sentence that only names a value, so that values which no fact has yet can be written at all."""
        value = rng.choice(rng.choice(self.world.relations).values)
        return f"{rng.choice(MENTIONS)} {value}."


def framed(prompt: str, rng: random.Random) -> str:
    """The prompt inside one of the frames in which questions and statements are often put."""
    if prompt.endswith("?"):
        return rng.choice(QUESTION_FRAMES).format(q=prompt)
    if prompt.startswith(LOWERED):
        prompt = prompt[0].lower() + prompt[1:]
    return rng.choice(STATEMENT_FRAMES).format(s=prompt)
