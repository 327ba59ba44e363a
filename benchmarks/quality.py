"""Quality of the editors by free generation on one file of facts, several seeds: mean and spread of every score.

    python benchmarks/quality.py --model DIR --facts FACTS.jsonl [--probes FAR.jsonl] --edits 1000 --seeds 3

Each seed edits another sample of the file. `--mode paper` measures the papers' editors; `--change-again 0.2` lets that
share of the facts change a second time; `--aliases` gives each request the other names that its own alias prompts use.
Baselines of the same run: the base without edits, and plain fine-tuning of the edited projection (`--baselines`).
Prints one JSON object.
"""

import argparse
import json
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fine_tuning import fine_tune

from daemon.evaluation.evaluate import EvaluateOptions, evaluate

SCORES = (
    "reliability",
    "generality",
    "stale_answer_rate",
    "bytes_per_edit",
    "edit_seconds_p50",
    "superseded",
)
BY_KIND = ("locality", "portability", "oldest", "teacher_forced")
Facts = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--probes", type=Path)
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--editors", nargs="+", default=["scen", "lemoe"])
    parser.add_argument("--mode", default="default", choices=("default", "paper"))
    parser.add_argument("--settings", default="{}", help="more settings of the editors, a JSON object")
    parser.add_argument("--change-again", type=float, default=0.0)
    parser.add_argument("--aliases", action="store_true")
    parser.add_argument("--baselines", action="store_true")
    options = parser.parse_args()
    known = [
        json.loads(line) for line in options.facts.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    with tempfile.TemporaryDirectory() as folder:
        files = {seed: _prepare(known, seed, options, Path(folder)) for seed in options.seeds}
        measured = {editor: _measure(editor, files, options) for editor in options.editors}
        if options.baselines:
            runs = [
                fine_tune(options.model, files[seed], options.probes, seed=seed) for seed in options.seeds
            ]
            measured["fine_tuning"] = {name: _spread([run[name] for run in runs]) for name in runs[0]}
    print(json.dumps(measured))


def _prepare(known: Facts, seed: int, options: argparse.Namespace, folder: Path) -> Path:
    """A file with this seed's facts in this seed's order."""
    rng = random.Random(seed)
    facts = rng.sample(known, min(options.edits, len(known)))
    if options.aliases:
        facts = [fact | {"aliases": _aliases(fact)} for fact in facts]
    again = rng.sample(facts, int(options.change_again * len(facts)))
    facts += [fact | {"target_new": _another_target(fact, facts, rng)} for fact in again]
    path = folder / f"facts-{seed}.jsonl"
    path.write_text("".join(json.dumps(fact) + "\n" for fact in facts), encoding="utf-8")
    return path


def _aliases(fact: dict[str, Any]) -> list[str]:
    """The names that stand in the alias prompts where the prompt has the subject."""
    if fact["subject"] not in fact["prompt"]:
        return []
    before, after = fact["prompt"].split(fact["subject"], 1)
    found = []
    for prompt in fact.get("portability_prompts", {}).get("alias", []):
        if prompt.startswith(before) and prompt.endswith(after):
            name = prompt[len(before) : len(prompt) - len(after)].strip()
            found += [name] if name else []
    return list(dict.fromkeys(found))


def _another_target(fact: dict[str, Any], facts: Facts, rng: random.Random) -> str:
    taken = {fact["target_new"], fact.get("ground_truth")}
    return str(rng.choice([other["target_new"] for other in facts if other["target_new"] not in taken]))


def _measure(editor: str, files: dict[int, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Mean and standard deviation over seeds; a score whose probes the files lack is null."""
    runs = []
    for seed, facts in files.items():
        chosen = EvaluateOptions(
            model=options.model,
            facts=facts,
            probes=options.probes,
            editor=editor,
            edits=None,
            batch_size=options.batch_size,
            seed=seed,
            mode=options.mode,
            settings=json.loads(options.settings),
        )
        report = evaluate(chosen).model_dump(mode="json")
        flat = {name: report[name] for name in SCORES}
        flat |= {f"{name}.{kind}": value for name in BY_KIND for kind, value in report[name].items()}
        routing = report["routing"]
        flat |= {f"routing.{name}": routing[name] for name in ("right_expert", "miss")}
        flat |= {f"routing.false_fire.{kind}": value for kind, value in routing["false_fire"].items()}
        runs.append(flat)
    return {name: _spread([run[name] for run in runs]) for name in runs[0]}


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": round(statistics.fmean(known), 5), "sd": round(statistics.pstdev(known), 5)}


if __name__ == "__main__":
    main()
