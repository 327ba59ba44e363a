"""Run the layers below the edited one once, and only the layers from there up again and again.

Training an expert at layer l changes nothing below l. One full pass records what enters layer l and the keyword
arguments (masks, rotary embeddings) that each upper layer was given; `Replay.hidden` then repeats the upper part alone, on
any subset of the rows, with gradients.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editors.base.base import SAMPLE_TEXT, Base
from editors.base.devices import device_errors
from edits.errors import UnknownArchitecture, first_line


@dataclass(frozen=True, slots=True)
class _LayerCall:
    args: tuple[Any, ...]  # what follows the hidden states
    kwargs: dict[str, Any]


class Replay:
    """One batch's cached prefix, and the upper layers as a function of it.

    Attributes:
        entering: (B, T, d) hidden states that enter the edited layer.
        leaving: (B, T, d) hidden states that leave it, as the base has them.
    """

    def __init__(self, base: Base, ids: Tensor, mask: Tensor, *, to_the_end: bool = True) -> None:
        """
        Args:
            to_the_end: False: the layers above the edited one do not run, for who will run them with a change; no `final`.
        """
        self.base = base
        self.rows = int(ids.shape[0])
        calls: list[_LayerCall] = []
        entering: list[Tensor] = []

        def record(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            hidden = args[0] if args else kwargs["hidden_states"]
            if not calls:
                entering.append(hidden.detach())
            rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            calls.append(_LayerCall(args[1:], rest))

        upper = list(base.layers)[base.layer :]
        handles = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in upper]
        try:
            with (
                device_errors(),
                torch.no_grad(),
                capture(upper[0], "output") as leaving,
                capture(base.final_norm, "output") as final,
                nullcontext() if to_the_end else _passed_by(upper[0], upper[1:]),
            ):
                # Without the head: logits at every position would cost as much as all layers of a small base.
                base.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        self._upper = upper
        self._calls = calls
        self.entering = entering[0]
        self.leaving = leaving[0]
        self._final: Tensor | None = final[0] if to_the_end else None

    @property
    def final(self) -> Tensor:
        """(B, T, d) the base's hidden states after the final norm.

        Raises:
            ValueError: the upper layers were not run.
        """
        if self._final is None:
            raise ValueError("a replay that stopped at the edited layer has no final hidden states")
        return self._final

    def hidden(self, rows: Tensor | None = None) -> Tensor:
        """Final hidden states (R, T, d) of the chosen rows, computed anew from the edited layer up."""
        hidden = self.entering if rows is None else self.entering[rows]
        return self._through(hidden, rows, first=0)

    def with_delta(
        self,
        delta: Callable[[Tensor], Tensor],
        module: torch.nn.Module,
        reads: Tensor | None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """`hidden` of the chosen rows (None: of all) where a module of the edited layer puts out so much more.

        Args:
            delta: from what the module reads (R, T, w) to what is added (R, T, d), in float32.
            reads: what the module reads, (B, T, w), of a base that adds directly; None runs the edited layer again.
        """
        if reads is not None:
            leaving = self.leaving if rows is None else self.leaving[rows]
            read = reads if rows is None else reads[rows]
            return self._through(leaving + delta(read).to(leaving.dtype), rows, first=1)

        def hook(_: Any, args: tuple[Any, ...], out: Tensor) -> Tensor:
            return out + delta(args[0]).to(out.dtype)

        with hooked(module, hook):
            return self.hidden(rows)

    def _through(self, hidden: Tensor, rows: Tensor | None, *, first: int) -> Tensor:
        with device_errors():
            for layer, call in zip(self._upper[first:], self._calls[first:], strict=True):
                args = tuple(self._select(value, rows) for value in call.args)
                kwargs = {name: self._select(value, rows, name) for name, value in call.kwargs.items()}
                out = layer(hidden, *args, **kwargs)
                hidden = out[0] if isinstance(out, tuple) else out
            return self.base.final_norm(hidden)  # type: ignore[no-any-return]

    def check(self) -> None:
        """Refuse an architecture whose upper layers do more than replaying them one by one repeats.

        Raises:
            UnknownArchitecture: the replayed hidden states differ from the model's own.
        """
        with torch.no_grad():
            again = self.hidden()
        if not torch.allclose(again.float(), self.final.float(), atol=1e-2, rtol=1e-2):
            raise UnknownArchitecture(
                f"{type(self.base.model).__name__} does more between its layers than Upkeep can replay: "
                "its final hidden states differ; this architecture cannot be edited yet"
            )

    def _select(self, value: Any, rows: Tensor | None, name: str = "") -> Any:
        # A tensor of two or more dimensions that starts with the batch is per row; all else is shared.
        if rows is None or not isinstance(value, Tensor | tuple):
            return value
        if name == "alibi" and isinstance(value, Tensor) and value.shape[0] > self.rows:
            # Position biases of all heads one behind the other: (B * H, 1, T).
            return value.reshape(self.rows, -1, *value.shape[1:])[rows].flatten(0, 1)
        if isinstance(value, tuple):
            return tuple(self._select(part, rows) for part in value)
        return value[rows] if value.ndim >= 2 and value.shape[0] == self.rows and self.rows > 1 else value


@contextmanager
def _passed_by(before: torch.nn.Module, layers: Sequence[torch.nn.Module]) -> Iterator[None]:
    """While the block runs, these layers give on what they are given, in the form that the one before them has."""
    rest: list[tuple[Any, ...] | None] = [None]

    def note(_: Any, __: Any, out: Any) -> None:
        rest[0] = out[1:] if isinstance(out, tuple) else None

    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return hidden if rest[0] is None else (hidden, *rest[0])

    own = [layer.__dict__.get("forward") for layer in layers]
    try:
        for layer in layers:
            layer.forward = forward
        with hooked(before, note):
            yield
    finally:
        for layer, kept in zip(layers, own, strict=True):
            if kept is None:
                layer.__dict__.pop("forward", None)
            else:
                layer.forward = kept


def prove_replayable(base: Base) -> None:
    """Prove once that a base can be edited and trained as this package does.

    Raises:
        UnknownArchitecture: see `Replay.check`; or its FFN, as `model.ffn_module` names it, takes or gives something else
            than one vector a token.
    """
    if base.accepted:
        return
    ids, mask = base.pad([base.prompt_ids(SAMPLE_TEXT), base.prompt_ids("Two")], side="right")
    seen: dict[str, Any] = {}
    last, whole = "the FFN's last projection", "the FFN"

    def note(name: str) -> Callable[..., None]:
        def hook(_: Any, args: tuple[Any, ...], out: Any) -> None:
            seen[f"what {name} reads"] = args[0] if args else None
            seen[f"what {name} puts out"] = out

        return hook

    try:
        with hooked(base.down_proj, note(last)), hooked(base.ffn, note(whole)):
            replay = Replay(base, ids, mask)
        replay.check()
        with torch.no_grad():
            replay.hidden(torch.tensor([1], device=ids.device))  # rows leave a batch one by one
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UnknownArchitecture(
            f"{type(base.model).__name__} cannot be edited: its layers do not run one by one ({first_line(error)})"
        ) from error
    shape = tuple(ids.shape)
    for name, tensor in seen.items():
        if not isinstance(tensor, Tensor) or tensor.ndim != 3 or tuple(tensor.shape[:2]) != shape:
            raise UnknownArchitecture(
                f"{type(base.model).__name__} cannot be edited with this model.ffn_module: {name} is not one vector for "
                "each token of each prompt (rows, tokens, width), as in a dense FFN"
            )
    if len(seen) < 4:
        raise UnknownArchitecture(
            f"{type(base.model).__name__} cannot be edited with this model.ffn_module: the model does not run these modules"
        )
    base.accepted = True


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Prompts with their answers, ready for teacher forcing.

    Attributes:
        ids, mask: (B, T), padded on the right.
        positions: (B, A) where each answer token is predicted; padded with 0.
        targets: (B, A) the answer tokens; -100 where padded.
        prompt_last: (B,) position of the last prompt token.
        owner: (B,) which edit of the batch a row belongs to.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    targets: Tensor
    prompt_last: Tensor
    owner: Tensor


def training_rows(base: Base, rows: Sequence[tuple[int, list[int], list[int]]]) -> TrainingRows:
    """Lay out (owner, prompt ids, answer ids) rows for one batched pass."""
    ids, mask = base.pad([prompt + answer[:-1] for _, prompt, answer in rows], side="right")
    width = max(len(answer) for _, _, answer in rows)
    positions = torch.zeros((len(rows), width), dtype=torch.long)
    targets = torch.full((len(rows), width), -100, dtype=torch.long)
    for index, (_, prompt, answer) in enumerate(rows):
        positions[index, : len(answer)] = torch.arange(len(prompt) - 1, len(prompt) - 1 + len(answer))
        targets[index, : len(answer)] = torch.tensor(answer)
    prompt_last = torch.tensor([len(prompt) - 1 for _, prompt, _ in rows])
    owner = torch.tensor([owner for owner, _, _ in rows])
    device = base.device
    return TrainingRows(
        ids, mask, positions.to(device), targets.to(device), prompt_last.to(device), owner.to(device)
    )


def at_last(hidden: Tensor, prompt_last: Tensor) -> Tensor:
    """Hidden states (B, T, w) at each row's last prompt token: (B, w) in float32."""
    rows = torch.arange(len(prompt_last), device=hidden.device)
    return hidden[rows, prompt_last.to(hidden.device)].float()


def answer_logits(base: Base, hidden: Tensor, positions: Tensor) -> Tensor:
    """Logits (B, A, V) at the answer positions alone: the vocabulary is wide, the answers are short."""
    index = positions[..., None].expand(-1, -1, hidden.shape[-1])
    return base.lm_head(hidden.gather(1, index)).float()  # type: ignore[no-any-return]


def answer_losses(base: Base, hidden: Tensor, positions: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over each row's answer tokens, from final hidden states: (B, T, d), (B, A), (B, A) -> (B,).

    Logits are made for real answer tokens alone: answers of a batch differ in length, and the vocabulary is wide.
    """
    rows, places = (targets >= 0).nonzero(as_tuple=True)
    logits = base.lm_head(hidden[rows, positions[rows, places]]).float()
    losses = torch.nn.functional.cross_entropy(logits, targets[rows, places], reduction="none")
    sums = torch.zeros(len(targets), device=losses.device).index_add(0, rows, losses)
    return sums / (targets >= 0).sum(1)


def row_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """The same from logits at every answer position: (B, A, V), targets (B, A) -> (B,)."""
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none", ignore_index=-100
    )
    return losses.view(targets.shape).sum(1) / (targets >= 0).sum(1)


@contextmanager
def hooked(module: torch.nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    """While the block runs, the module has this forward hook."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def capture(module: torch.nn.Module, what: str) -> Any:
    """Collect the detached first input (of a layer also by its name) or the output of a module while the block runs."""
    seen: list[Tensor] = []

    def on_input(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append((args[0] if args else kwargs["hidden_states"]).detach())

    def on_output(_: Any, __: Any, out: Any) -> None:
        seen.append((out[0] if isinstance(out, tuple) else out).detach())

    handle = (
        module.register_forward_pre_hook(on_input, with_kwargs=True)
        if what == "input"
        else module.register_forward_hook(on_output)
    )
    try:
        yield seen
    finally:
        handle.remove()
