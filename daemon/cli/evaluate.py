"""`upkeep evaluate`: score an editor on any base model and any file of facts, without daemon and Kafka."""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class EditorChoice(StrEnum):
    """The editors; auto chooses as the planner does."""

    SCEN = "scen"
    LEMOE = "lemoe"
    AUTO = "auto"


def register(app: typer.Typer) -> None:
    """Add the command to the table of contents."""
    app.command("evaluate", rich_help_panel="Measure")(evaluate)


def evaluate(
    model: Annotated[str, typer.Option("--model", help="Directory or hub id of a causal language model.")],
    facts: Annotated[Path, typer.Option("--facts", help="JSONL: subject, prompt, target_new ...")],
    probes: Annotated[
        Path | None, typer.Option("--probes", help='JSONL: {"prompt": ..., "kind": "far"}.')
    ] = None,
    editor: Annotated[EditorChoice, typer.Option("--editor", help="Which editor.")] = EditorChoice.AUTO,
    edits: Annotated[
        int | None, typer.Option("--edits", min=1, help="The first so many facts; unset: all.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Edits of one batch.")] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same scores.")] = 0,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write the scores to this file too, as one JSON object.")
    ] = None,
) -> None:
    """Apply T edits, then score the final model against its own base by free greedy generation.

    Rephrases, locality and portability prompts of the facts file are for scoring: the editor never sees them.
    A score whose probes the files lack is null.

    \b
    Example:
      upkeep evaluate --model ./my-model --facts facts.jsonl --probes far.jsonl \\
        --editor scen --edits 500 --batch-size 50 --seed 1 --json scores.json
    """
    from daemon.cli.output import console, table
    from daemon.evaluate import EvaluateOptions
    from daemon.evaluate import evaluate as run_evaluation
    from daemon.log import configure_logging
    from daemon.settings import LogSettings

    configure_logging(LogSettings(level="warning", as_json=False), "evaluate")
    report = run_evaluation(
        EvaluateOptions(
            model=model,
            facts=facts,
            probes=probes,
            editor=editor.value,
            edits=edits,
            batch_size=batch_size,
            seed=seed,
        )
    )
    scores = report.model_dump(mode="json")
    if json_out is not None:
        json_out.write_text(json.dumps(scores, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    console().print(table(f"{facts.name} on {model}", ("score", "value"), _flat(scores)))


def _flat(scores: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """`{"locality": {"far": 1.0}}` as `locality.far`; curves stay one cell."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
