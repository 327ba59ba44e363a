"""`upkeep evaluate`: apply T edits batch by batch, then score the final model against its own base."""

import os
from pathlib import Path

import torch
from huggingface_hub import cached_assets_path, constants

from daemon.evaluation.editing import edit_all
from daemon.evaluation.evaluate_options import EvaluateOptions
from daemon.evaluation.evaluation_report import Encoder, EvaluationReport
from daemon.evaluation.facts_file import BadFile, read_facts, read_probes, readable
from daemon.evaluation.scorer import Scorer
from editors.base.base import Base, load_base
from editors.index import DEFAULT_ENCODER, load_matcher
from editors.inference.edited_model import EditedModel
from editors.methods.common.editor import ProgressCallback
from edits.errors import BadRequest
from edits.judging import as_prompt

__all__ = ["EvaluateOptions", "build_model", "evaluate"]


def evaluate(options: EvaluateOptions, *, progress: ProgressCallback | None = None) -> EvaluationReport:
    """Edit and score; `progress` gets the stage, how much of it is done, and how much there is.

    Raises:
        BadFile: the facts or probes cannot be read, or the base can read none of the facts.
        PermanentError: the options do not go together, or the base, the encoder or the editor cannot be used.
    """
    report_progress = progress or _no_progress
    options.check()
    facts = read_facts(options.facts, options.edits)
    far = [p.prompt for p in read_probes(options.probes) if p.kind == "far"] if options.probes else []
    torch.manual_seed(options.seed)
    model, encoder = build_model(options)
    _require_chat(model.base, options)

    def can_ask(text: str, answer: str) -> bool:
        return model.base.can_answer(as_prompt(options.form, text), answer)

    known = readable(facts, far, can_ask)
    if not known.facts:
        raise BadFile(f"{options.facts}: every prompt or answer is too long for the base {options.model}")
    edited = edit_all(model, known.facts, options, report_progress)
    return Scorer(edited, known, options, encoder, report_progress).report(len(facts))


def build_model(options: EvaluateOptions) -> tuple[EditedModel, Encoder | None]:
    """The model that the edits go into, and the encoder that its scope index reads with (None: it reads none).

    Raises:
        PermanentError: the base or the encoder cannot be used.
    """
    named = DEFAULT_ENCODER if options.encoder is None else options.encoder
    matcher = load_matcher(named, heads=_kept_heads(named)) if named else None
    read_by = None if matcher is None else Encoder(place=named, hash=matcher.hash)
    base = load_base(
        options.model,
        device=options.device,
        dtype=options.dtype,
        ffn_module=options.ffn_module,
        layer=options.layer,
    )
    return EditedModel(base, matcher=matcher), read_by


def _kept_heads(encoder: str) -> Path | None:
    """Where pair heads stay from run to run: the hub's cache, which this user has anyway; None: it cannot be written."""
    if encoder == DEFAULT_ENCODER:
        return None  # its head is shipped
    try:
        folder = cached_assets_path("upkeep", "heads", assets_dir=constants.HF_ASSETS_CACHE)
    except (OSError, ValueError):  # a read-only disk, or a file in the way
        return None
    return folder if os.access(folder, os.W_OK) else None


def _require_chat(base: Base, options: EvaluateOptions) -> None:
    if options.form == "chat" and not base.chat:
        raise BadRequest(
            f"--form chat: the tokenizer of {options.model} has no chat template; use --form plain"
        )


def _no_progress(_stage: str, _done: int, _total: int) -> None:
    return None
