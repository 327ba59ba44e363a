"""How the scope index tells paraphrases from other questions, on facts files; no base is asked.

    python benchmarks/scope_head.py --facts FACTS.jsonl [MORE.jsonl ...] [--encoder DIR] [--limit 500]

For each file the share of (edit's prompt, other prompt) pairs that fire, each edit alone with its own threshold:
`paraphrase` (should be 1), `subject`, `yes_no`, `two_hop` (should be 0); paraphrases as a prompt may hold them: behind other
text, before an instruction, after examples; and with the edited question as an example only (should be 0). Each for the ways
of reading a prompt that were compared: its part that asks (what the index does), the whole, the last sentence. Prints one
JSON object.

What the head's corpus holds of them, the name masked, words alone: `known`, the share of each kind of question that stands
there; `known_facts`, those whose prompt or a paraphrase stands there or whose relation it names; `unknown_facts`, the others
(where a file names no relation, by the questions alone). Of both their number and the shares that fire, as the index reads.
"""

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from editors.index import DEFAULT_ENCODER, load_matcher
from editors.index.head import Questions
from editors.index.learning.corpus import read_corpus
from editors.index.matcher import QuestionMatcher
from editors.index.wording.questions import find_name, masked, masked_question, readings
from editors.index.wording.sentences import sentences
from edits.names.surface import read_text, words_of

FRONT = (
    "It rained all night, and the streets were empty. The committee met at nine; nobody had read the minutes."
)
BEHIND = "Answer in a few words, please."
SHOTS = "Q: Who wrote The Winter Road?\nA: Ida Sun\nQ: {}\nA:"
SHOWN = "Q: {}\nA: Ida Sun\nQ: Who wrote The Winter Road?\nA:"
Reader = Callable[[str, list[tuple[str, ...]]], list[str]]
Fact = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--facts", type=Path, nargs="+", required=True)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--limit", type=int, default=500, help="facts of a file, at random")
    parser.add_argument("--target-false-fire", type=float, default=0.01)
    options = parser.parse_args()
    torch.set_num_threads(1)
    matcher = load_matcher(options.encoder)
    found = {
        path.stem: _file(matcher, path, options.limit, options.target_false_fire) for path in options.facts
    }
    print(json.dumps({"encoder": matcher.hash, "files": found}))


def _file(matcher: QuestionMatcher, path: Path, limit: int, target: float) -> dict[str, Any]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    facts = [json.loads(line) for line in random.Random(0).sample(lines, min(limit, len(lines)))]
    scores: dict[str, Any] = {
        name: _scores(matcher, facts, target, reader) for name, reader in READERS.items()
    }
    return scores | _by_corpus(matcher, facts, target)


def _by_corpus(matcher: QuestionMatcher, facts: Sequence[Fact], target: float) -> dict[str, Any]:
    """What the corpus holds of these facts, and how those that it knows do beside the others."""
    texts, relations = known_to_the_corpus()
    groups: dict[str, list[Fact]] = {"known_facts": [], "unknown_facts": []}
    for fact in facts:
        named = plain(fact.get("relation") or "") in relations
        known = named or any(
            wording(fact, prompt) in texts for prompt in (fact["prompt"], *fact["rephrase_prompts"])
        )
        groups["known_facts" if known else "unknown_facts"].append(fact)
    return {"known": _known_shares(facts, texts)} | {
        name: {"facts": len(group), **_scores(matcher, group, target, READERS["asking"])}
        for name, group in groups.items()
        if group
    }


def _known_shares(facts: Sequence[Fact], texts: set[str]) -> dict[str, float]:
    asked: dict[str, Callable[[Fact], list[str]]] = {"prompt": lambda fact: [fact["prompt"]]}
    asked |= {kind: KINDS[kind] for kind in ("paraphrase", "subject", "yes_no", "two_hop")}
    found = {
        kind: [wording(fact, prompt) in texts for fact in facts for prompt in prompts(fact)]
        for kind, prompts in asked.items()
    }
    return {kind: round(sum(hits) / len(hits), 4) for kind, hits in found.items() if hits}


def _scores(
    matcher: QuestionMatcher, facts: Sequence[Fact], target: float, reader: Reader
) -> dict[str, float]:
    own = matcher.encode([masked_question(fact["prompt"], [fact["subject"]]) for fact in facts])
    odds = matcher.thresholds(own, target_false_fire=target).tolist()
    kinds = {kind: list(_pairs(facts, kind)) for kind in KINDS}
    return {
        kind: round(_share(matcher, own, odds, pairs, reader), 4) for kind, pairs in kinds.items() if pairs
    }


@cache  # for all files
def known_to_the_corpus() -> tuple[set[str], set[str]]:
    """The corpus' texts, names masked, and the names of its relations: words alone."""
    relations = read_corpus().relations
    texts = {plain(text) for one in relations for text in (*one.phrasings, *one.near_misses)}
    return texts, {plain(one.name) for one in relations}


def wording(fact: Fact, prompt: str) -> str:
    """A question with the name masked: its words alone."""
    return plain(masked_question(prompt, [fact["subject"]]))


def plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _pairs(facts: Sequence[Fact], kind: str) -> Iterator[tuple[int, str, str]]:
    for place, fact in enumerate(facts):
        for prompt in KINDS[kind](fact):
            if find_name(read_text(prompt), [words_of(fact["subject"])]):
                yield place, fact["subject"], prompt


def _share(
    matcher: QuestionMatcher,
    own: Questions,
    odds: Sequence[float],
    pairs: Sequence[tuple[int, str, str]],
    reader: Reader,
) -> float:
    read = [reader(prompt, [words_of(subject)]) for _, subject, prompt in pairs]
    texts = list(dict.fromkeys(text for found in read for text in found))
    vectors, rows = matcher.encode(texts), {text: n for n, text in enumerate(texts)}
    fired = 0
    for (place, _, _), found in zip(pairs, read, strict=True):
        asked = vectors.rows([rows[text] for text in found])
        fired += bool(found) and float(matcher.odds(asked, own.rows([place])).max()) >= odds[place]
    return fired / len(pairs)


def _paraphrases(form: str) -> Callable[[Fact], list[str]]:
    return lambda fact: [form.replace("{}", prompt) for prompt in fact["rephrase_prompts"]]


KINDS: dict[str, Callable[[Fact], list[str]]] = {
    "paraphrase": _paraphrases("{}"),
    "paraphrase_behind_text": _paraphrases(f"{FRONT} {{}}"),
    "paraphrase_before_instruction": _paraphrases(f"{{}} {BEHIND}"),
    "paraphrase_after_examples": _paraphrases(SHOTS),
    "only_among_examples": _paraphrases(SHOWN),
    "subject": lambda fact: fact["locality_prompts"]["subject"],
    "yes_no": lambda fact: [*fact.get("yes_prompts", ()), *fact.get("no_prompts", ())],
    "two_hop": lambda fact: [
        one["prompt"] for one in fact.get("portability_prompts", {}).get("reasoning", ())
    ],
}


def _whole(prompt: str, names: list[tuple[str, ...]]) -> list[str]:
    read = read_text(prompt)
    return [masked(read, find_name(read, names))]


def _last(prompt: str, names: list[tuple[str, ...]]) -> list[str]:
    read = read_text(prompt)
    at = find_name(read, names)
    part = list(sentences(read, at))[-1]
    return [masked(read, at, part)] if any(part[0] <= name.start < part[1] for name in at) else []


READERS: dict[str, Reader] = {
    "asking": lambda prompt, names: readings([prompt], names),
    "whole": _whole,
    "last": _last,
}


if __name__ == "__main__":
    main()
