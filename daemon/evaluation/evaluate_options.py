"""What `upkeep evaluate` is asked to do, checked before any model is read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from edits.errors import BadRequest
from edits.judging import Form
from planners.settings import BatchEditor

FORMS = ("plain", "chat")
BASELINES = ("in-context",)
# A plain prompt is continued with a bare value. In chat the base speaks in sentences: of 25 answers of SmolLM2-135M two
# ended within 32 tokens, 12 within 64 and 21 within 96.
_MAX_NEW_TOKENS: Mapping[Form, int] = {"plain": 32, "chat": 96}


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What to evaluate; `editor` is scen, lemoe or auto, `edits` None means all facts of the file."""

    model: str
    facts: Path
    probes: Path | None
    editor: str
    edits: int | None
    batch_size: int
    seed: int
    max_new_tokens: int | None = None  # None: what the form needs
    mode: str = "default"  # or "paper"; see editors.methods.registry
    settings: Mapping[str, int | float | str | bool] = field(default_factory=dict)  # more of the editor's own
    form: Form = "plain"
    baseline: str | None = None  # or "in-context"
    turns: int = 1
    encoder: str | None = None  # of the scope index; None: the settings' default, "": none
    # Of the base, as the settings' table `model` has them.
    device: str = "auto"
    dtype: str = "auto"
    ffn_module: str | None = None
    layer: int | None = None

    @property
    def tokens(self) -> int:
        """The longest answer."""
        return _MAX_NEW_TOKENS[self.form] if self.max_new_tokens is None else self.max_new_tokens

    def check(self) -> None:
        """Refuse what cannot be measured.

        Raises:
            BadRequest: which options do not go together, and what to choose instead.
        """
        if self.editor not in get_args(BatchEditor):
            raise BadRequest(f"--editor {self.editor}: use one of {', '.join(get_args(BatchEditor))}")
        if self.form not in FORMS:
            raise BadRequest(f"--form {self.form}: use one of {', '.join(FORMS)}")
        if self.baseline is not None and self.baseline not in BASELINES:
            raise BadRequest(f"--baseline {self.baseline}: use one of {', '.join(BASELINES)}")
        if self.turns not in (1, 2):
            raise BadRequest(f"--turns {self.turns}: use 1, or 2 with --form chat")
        if self.turns == 2 and self.form != "chat":
            raise BadRequest("--turns 2 needs --form chat: a plain prompt has no turns")
        if self.mode == "paper" and self.form == "chat":
            raise BadRequest(
                "--mode paper trains on plain prompts alone: use --form plain, or --mode default"
            )
