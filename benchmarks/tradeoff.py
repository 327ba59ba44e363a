"""Generality against locality: what the scope index gives up on one side to gain on the other.

    python benchmarks/tradeoff.py --model DIR --facts FACTS.jsonl [--plot docs/images/tradeoff.svg]

Each edit's held-out rephrases should fire it, each of its same-subject probes should not. An edit fires where the base
agrees and the hidden states are at least so alike as the threshold says; the thresholds are swept. Nothing is trained.
Prints one JSON object: for each threshold the share of rephrases found and the share of probes left alone.
"""

import argparse
import json
from pathlib import Path

from line_chart import ChartLine, chart

from daemon.evaluation.facts_file import read_facts
from editors.base.base import load_base
from editors.routing.agreement import make_keys, read_pairs
from edits.names.surface import SurfaceIndex

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--edits", type=int)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    base = load_base(options.model)
    facts = [fact for fact in read_facts(options.facts, options.edits) if base.fits(fact.prompt)]
    keys = make_keys(base, [fact.prompt for fact in facts], max_answer_tokens=16)
    asked: list[tuple[str, int, bool]] = []
    for edit, fact in enumerate(facts):
        names = SurfaceIndex()
        names.add("it", (fact.subject, *fact.aliases))
        for prompts, fires in ((fact.rephrase_prompts, True), (fact.locality_prompts.subject, False)):
            asked += [(p, edit, fires) for p in prompts if names.find(p) and base.fits(p)]
    readings = read_pairs(base, [(prompt, keys[edit]) for prompt, edit, _ in asked])
    points = []
    for threshold in THRESHOLDS:
        fired = [
            (r.agrees and r.cosine >= threshold, fires)
            for r, (_, _, fires) in zip(readings, asked, strict=True)
        ]
        found = [one for one, fires in fired if fires]
        left = [not one for one, fires in fired if not fires]
        points.append(
            {
                "cosine_at_least": threshold,
                "rephrases_found": round(sum(found) / len(found), 4) if found else None,
                "probes_left_alone": round(sum(left) / len(left), 4) if left else None,
            }
        )
    if options.plot is not None:
        line = ChartLine(
            "agreement and a cosine of at least 0 to .95",
            [(p["probes_left_alone"] or 0.0, p["rephrases_found"] or 0.0) for p in points],
        )
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        plot = chart([line], x="same-subject probes left alone", y="rephrases that fire their edit")
        options.plot.write_text(plot, encoding="utf-8")
    print(json.dumps({"facts": str(options.facts), "edits": len(facts), "points": points}))


if __name__ == "__main__":
    main()
