"""A real model: our editors in every form, beside the fact in the prompt, no edit, and the papers at their best rates.

    python benchmarks/real_model.py --model DIR --facts FACTS.jsonl [--probes FAR.jsonl] --edits 200 \
        --batch-size 50 --forms plain chat --editors scen lemoe --baselines in-context paper none

Prints one JSON object, and each part of it on standard error as it comes, for the whole takes hours on two cores. `edited`
holds the evaluator's whole report for each editor and form, the in-context baseline of the same run in it; `none` the base
without edits; `paper` each paper's mode with the table of its search. The search tries a handful of rates on facts behind
the measured ones: a baseline at rates for another base proves nothing.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.evaluation.editing import Edited
from daemon.evaluation.evaluate import EvaluateOptions, build_model, evaluate
from daemon.evaluation.facts_file import read_facts
from daemon.evaluation.questions import AnsweredQuestions, questions_of
from edits.judging import Form

Settings = Mapping[str, float | bool]

# LEMoE's formula has traps; each switch handles one (editors/methods/paper_lemoe/). The search may take them all.
SWITCHES: Settings = dict.fromkeys(
    ("replay", "force_own_expert", "deferral", "pool_prompt_only", "zero_output", "ignore_padding"), True
)
FIRING: Settings = {"neuron_learning_rate": 1e-3, "neuron_steps": 1000}
# As published first, then around what teaches this base. One axis is searched at the best point of those before.
SEARCH: Mapping[str, Sequence[Sequence[Settings]]] = {
    "scen": (
        # As published; then experts beside neurons that fire, for an expert that no neuron calls looks like none.
        (
            {"learning_rate": 1e-4, "steps": 10, "neuron_learning_rate": 1e-4},
            {"learning_rate": 2e-3, "steps": 10, **FIRING},
            {"learning_rate": 1e-3, "steps": 30, **FIRING},
            {"learning_rate": 4e-3, "steps": 10, **FIRING},
        ),
        ({"neuron_learning_rate": 4e-4}, {"neuron_steps": 300}),
        ({"theta": 0.5}, {"theta": 0.8}, {"theta": 0.9}),
    ),
    "lemoe": (
        (
            {"learning_rate": 2e-4, "steps": 100},  # as published
            {"learning_rate": 5e-5, "steps": 100},
            {"learning_rate": 5e-5, "steps": 300},
            {"learning_rate": 1e-3, "steps": 100},
        ),
        ({"route_learning_rate": 1e-3}, {"route_learning_rate": 1e-2}),
        (SWITCHES,),
    ),
}
# The same neurons without the paper's passes over all of history in every step: hours on this base.
FIXED: Mapping[str, Settings] = {"scen": {"cached_activations": True}, "lemoe": {}}
NO_CHAT = "not measured: the papers' modes train on plain prompts alone and have no chat form"


def main() -> None:
    options = _options()
    measured: dict[str, Any] = {"conditions": {name: str(value) for name, value in vars(options).items()}}
    measured["edited"] = {
        editor: {form: _report(options, editor, form) for form in options.forms} for editor in options.editors
    }
    if "none" in options.baselines:
        measured["none"] = {form: _unedited(options, form) for form in options.forms}
    if "paper" in options.baselines:
        with tempfile.TemporaryDirectory() as folder:
            behind = _facts_behind(options, Path(folder))
            measured["paper"] = {editor: _paper(options, editor, behind) for editor in options.editors}
    print(json.dumps(measured))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--probes", type=Path)
    parser.add_argument("--encoder", help='sentence encoder of the scope index; "" for none')
    parser.add_argument("--edits", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forms", nargs="+", choices=("plain", "chat"), default=["plain", "chat"])
    parser.add_argument("--editors", nargs="+", choices=("scen", "lemoe"), default=["scen", "lemoe"])
    parser.add_argument(
        "--baselines",
        nargs="*",
        choices=("in-context", "paper", "none"),
        default=["in-context", "paper", "none"],
    )
    parser.add_argument(
        "--search-facts", type=int, default=10, help="facts on which the papers' rates are searched"
    )
    return parser.parse_args()


def _chosen(options: argparse.Namespace, editor: str, form: Form, **changes: Any) -> EvaluateOptions:
    given: dict[str, Any] = {
        "model": options.model,
        "facts": options.facts,
        "probes": options.probes,
        "editor": editor,
        "edits": options.edits,
        "batch_size": options.batch_size,
        "seed": options.seed,
        "encoder": options.encoder,
        "form": form,
    }
    return EvaluateOptions(**given | changes)


def _report(options: argparse.Namespace, editor: str, form: Form) -> dict[str, Any]:
    baseline = "in-context" if "in-context" in options.baselines else None
    turns = 2 if form == "chat" else 1
    report = evaluate(_chosen(options, editor, form, baseline=baseline, turns=turns)).model_dump(mode="json")
    _tell({"editor": editor, **report})
    return report


def _tell(row: Mapping[str, Any]) -> None:
    print(json.dumps(row), file=sys.stderr, flush=True)


def _unedited(options: argparse.Namespace, form: Form) -> dict[str, Any]:
    """What the base says of itself, judged as if it had been edited."""
    chosen = _chosen(options, "scen", form)
    model, _ = build_model(chosen)
    facts = {str(n): fact for n, fact in enumerate(read_facts(options.facts, options.edits))}
    questions = questions_of(Edited(model, live=facts), facts, form)
    own, rephrased = (
        AnsweredQuestions(model, questions[name], form=form, tokens=chosen.tokens)
        for name in ("own", "rephrased")
    )
    return {"reliability": own.score, "generality": rephrased.score}


def _facts_behind(options: argparse.Namespace, folder: Path) -> Path:
    """Facts for the search that are not measured; the last ones, where the file has no others."""
    lines = [line for line in options.facts.read_text(encoding="utf-8").splitlines() if line.strip()]
    unseen = lines[options.edits :] or lines[-options.search_facts :]
    path = folder / "search.jsonl"
    path.write_text("\n".join(unseen[: options.search_facts]) + "\n", encoding="utf-8")
    return path


def _paper(options: argparse.Namespace, editor: str, behind: Path) -> dict[str, Any]:
    """The search's table, and a paper's mode at the best point of it."""
    table = list(_search(options, editor, behind))
    best = max(table, key=lambda row: row["balance"])["settings"]
    found: dict[str, Any] = {"search": table, "best": best}
    if "plain" in options.forms:
        chosen = _chosen(options, editor, "plain", mode="paper", settings={**FIXED[editor], **best})
        found["plain"] = evaluate(chosen).model_dump(mode="json")
    if "chat" in options.forms:
        found["chat"] = NO_CHAT
    return found


def _search(options: argparse.Namespace, editor: str, behind: Path) -> Iterator[dict[str, Any]]:
    best: Settings = {}
    highest = -1.0
    for axis in SEARCH[editor]:
        start = best
        for point in axis:
            row = _tried(options, editor, behind, {**start, **point})
            if row["balance"] > highest:
                best, highest = row["settings"], row["balance"]
            _tell({"searched": editor, **row})
            yield row


def _tried(options: argparse.Namespace, editor: str, behind: Path, settings: Settings) -> dict[str, Any]:
    """One point; reliability counts twice in its balance: what leaves all alone because it teaches nothing is no editor."""
    changes = {"facts": behind, "edits": None, "mode": "paper", "settings": {**FIXED[editor], **settings}}
    report = evaluate(_chosen(options, editor, "plain", **changes))
    local = [value for value in report.locality.model_dump().values() if value is not None]
    kept = sum(local) / len(local) if local else None
    known = [
        value
        for value in (report.reliability, report.reliability, report.generality, kept)
        if value is not None
    ]
    return {
        "settings": dict(settings),
        "reliability": report.reliability,
        "generality": report.generality,
        "locality": report.locality.model_dump(),
        "balance": sum(known) / len(known),
    }


if __name__ == "__main__":
    main()
