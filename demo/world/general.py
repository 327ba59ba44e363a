"""General knowledge and plain text that no edit concerns: training text for the base, and `far` probes."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from demo.world.datafiles import read_toml

NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
)
SUMS = ("{a} plus {b} is", "What is {a} plus {b}?", "Add {a} to {b} and you get")


@dataclass(frozen=True, slots=True)
class Question:
    """Something with one short answer that is no fact of the world's relations."""

    prompt: str
    answer: str


def questions() -> tuple[Question, ...]:
    """All of them: opposites, plurals, young animals, what comes next, colours, legs, tools, small sums."""
    return tuple(
        Question(_capitalised(phrasing.replace("{subject}", subject)), answer)
        for phrasings, subject, answer in _entries(read_toml("general.toml"))
        for phrasing in phrasings
    )


def _entries(general: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    for kind in general["kinds"]:
        for subject, answer in kind["pairs"]:
            yield tuple(kind["train"]), subject, answer
    for a in range(1, 10):
        for b in range(1, 10):
            words = tuple(text.format(a=NUMBER_WORDS[a], b=NUMBER_WORDS[b]) for text in SUMS)
            yield words, "", NUMBER_WORDS[a + b]


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class PlainText:
    """A grammar of unrelated sentences about animals, weather and neighbours."""

    patterns: tuple[str, ...]
    words: dict[str, tuple[str, ...]]

    @classmethod
    def load(cls) -> "PlainText":
        """The grammar of `demo/data/general.toml`."""
        spec = dict(read_toml("general.toml")["plain"])
        patterns = tuple(spec.pop("patterns"))
        return cls(patterns, {name: tuple(words) for name, words in spec.items()})

    def sentence(self, rng: random.Random) -> str:
        """One sentence, with its full stop."""
        chosen = {name: rng.choice(words) for name, words in self.words.items()}
        return rng.choice(self.patterns).format(**chosen)


def far_probes(count: int, seed: int = 0) -> tuple[str, ...]:
    """`count` unrelated prompts, all different: two thirds questions, the rest beginnings of plain text."""
    rng = random.Random(f"far {seed}")
    asked = [question.prompt for question in questions()]
    probes = rng.sample(asked, min(len(asked), count * 2 // 3))
    plain = PlainText.load()
    while len(probes) < count:
        words = plain.sentence(rng).split()
        start = " ".join(words[: rng.randint(3, max(3, len(words) - 2))]).rstrip(".,")
        if start not in probes:
            probes.append(start)
    return tuple(probes)
