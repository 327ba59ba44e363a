"""`upkeep evaluate`: score an editor on any base model and any file of facts, without daemon and Kafka."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edits.errors import PermanentError


class EditorChoice(StrEnum):
    """The editors; auto chooses as the planner does."""

    SCEN = "scen"
    LEMOE = "lemoe"
    AUTO = "auto"


class ModeChoice(StrEnum):
    """Upkeep's own editors, or what the papers published."""

    DEFAULT = "default"
    PAPER = "paper"


class FormChoice(StrEnum):
    """A text that is continued, or one user message through the chat template."""

    PLAIN = "plain"
    CHAT = "chat"


class BaselineChoice(StrEnum):
    """What is measured beside the edits."""

    IN_CONTEXT = "in-context"


def evaluate(
    model: Annotated[str, typer.Option("--model", help="Directory or hub id of a causal language model.")],
    facts: Annotated[Path, typer.Option("--facts", help="JSONL: subject, prompt, target_new ...")],
    probes: Annotated[
        Path | None, typer.Option("--probes", help='JSONL: {"prompt": ..., "kind": "far"}.')
    ] = None,
    editor: Annotated[EditorChoice, typer.Option("--editor", help="Which editor.")] = EditorChoice.AUTO,
    mode: Annotated[
        ModeChoice, typer.Option("--mode", help="Upkeep's editors, or the papers' as published.")
    ] = ModeChoice.DEFAULT,
    form: Annotated[
        FormChoice, typer.Option("--form", help="Prompts as they stand, or as user messages of a chat.")
    ] = FormChoice.PLAIN,
    turns: Annotated[
        int,
        typer.Option(
            "--turns", min=1, max=2, help="2: paraphrases also as a second turn that says it, he, they."
        ),
    ] = 1,
    baseline: Annotated[
        BaselineChoice | None,
        typer.Option("--baseline", help="Measure too: no edit, the fact written into the prompt."),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", help='Sentence encoder of the scope index; unset: the default, "": none.'),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="As model.device: auto, cpu, cuda, cuda:1 ...")
    ] = "auto",
    dtype: Annotated[
        str, typer.Option("--dtype", help="As model.dtype: auto, float32, bfloat16, float16.")
    ] = "auto",
    ffn_module: Annotated[
        str | None, typer.Option("--ffn-module", help="As model.ffn_module: layers|ffn|projection|norm.")
    ] = None,
    layer: Annotated[
        int | None, typer.Option("--layer", help="As model.layer: which layer is edited.")
    ] = None,
    edits: Annotated[
        int | None, typer.Option("--edits", min=1, help="The first so many facts; unset: all.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Edits of one batch.")] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same scores.")] = 0,
    max_new_tokens: Annotated[
        int | None,
        typer.Option("--max-new-tokens", min=1, help="The longest answer; unset: 32, in chat 96."),
    ] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", help="Write the scores to this file too, as one JSON object.")
    ] = None,
) -> None:
    """Apply T edits, then score the final model against its own base by free greedy generation.

    Rephrases, locality and portability prompts of the facts file are for scoring: the editor never sees them.
    A score whose probes the files lack is null. Prompts that the base cannot read are left out and counted;
    a fact that it cannot read is a failure in the reliability.

    In chat an answer is right if it says the new value (case and punctuation do not count) and not the ground
    truth; `exact` is the strict match beside it. docs/evaluation.md explains every score.

    \b
    Example:
      upkeep evaluate --model ./my-model --facts facts.jsonl --probes far.jsonl \\
        --editor scen --edits 500 --batch-size 50 --seed 1 --json scores.json
      upkeep evaluate --model ./my-chat-model --facts facts.jsonl \\
        --form chat --turns 2 --baseline in-context
    """
    from daemon.cli.output import console, table
    from daemon.evaluation.evaluate import EvaluateOptions
    from daemon.evaluation.evaluate import evaluate as run_evaluation
    from daemon.process.log import configure_logging
    from daemon.settings.tables import LogSettings

    configure_logging(LogSettings(level="warning", as_json=False), "evaluate")
    if json_out is not None:
        _require_writable(json_out)
    options = EvaluateOptions(
        model=model,
        facts=facts,
        probes=probes,
        editor=editor.value,
        edits=edits,
        batch_size=batch_size,
        seed=seed,
        max_new_tokens=max_new_tokens,
        mode=mode.value,
        form=form.value,
        baseline=baseline.value if baseline is not None else None,
        turns=turns,
        encoder=encoder,
        device=device,
        dtype=dtype,
        ffn_module=ffn_module,
        layer=layer,
    )
    with _progress_bars() as progress:
        report = run_evaluation(options, progress=progress)
    scores = report.model_dump(mode="json")
    console().print(table(f"{facts.name} on {model}", ("score", "value"), _flat(scores)))
    if json_out is not None:
        _write(json_out, scores)


def _require_writable(path: Path) -> None:
    """Refuse now what would be refused after hours of work."""
    if not path.parent.is_dir():
        raise PermanentError(f"--json {path}: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermanentError(f"--json {path} cannot be written")


def _write(path: Path, scores: Mapping[str, Any]) -> None:
    try:
        path.write_text(json.dumps(scores, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise PermanentError(f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def _progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """One bar for each stage, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _flat(scores: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """`{"locality": {"far": 1.0}}` as `locality.far`; curves stay one cell."""
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
