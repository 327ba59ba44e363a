"""Quality of both editors by free generation, several seeds: mean and spread of every score of `upkeep evaluate`.

    python benchmarks/quality.py --model DIR --facts FACTS.jsonl [--probes FAR.jsonl] --edits 500 --seeds 3

Prints one JSON object.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from daemon.evaluate import EvaluateOptions, evaluate

SCORES = ("reliability", "generality", "stale_answer_rate", "bytes_per_edit", "edit_seconds_p50")
BY_KIND = ("locality", "portability")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--probes", type=Path)
    parser.add_argument("--edits", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--editors", nargs="+", default=["scen", "lemoe"])
    options = parser.parse_args()
    print(json.dumps({editor: measure(editor, options) for editor in options.editors}))


def measure(editor: str, options: argparse.Namespace) -> dict[str, Any]:
    """Mean and standard deviation over seeds; a score whose probes the files lack is null."""
    reports = []
    for seed in range(options.seeds):
        chosen = EvaluateOptions(
            model=options.model,
            facts=options.facts,
            probes=options.probes,
            editor=editor,
            edits=options.edits,
            batch_size=options.batch_size,
            seed=seed,
        )
        report = evaluate(chosen).model_dump(mode="json")
        flat = {name: report[name] for name in SCORES}
        flat |= {f"{name}.{kind}": value for name in BY_KIND for kind, value in report[name].items()}
        reports.append(flat)
    return {name: spread([report[name] for report in reports]) for name in reports[0]}


def spread(values: list[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": round(statistics.fmean(known), 5), "sd": round(statistics.pstdev(known), 5)}


if __name__ == "__main__":
    main()
