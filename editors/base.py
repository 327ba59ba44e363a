"""The base model: loaded once, hashed, never changed."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from editors.architectures import Layout, layout_of, submodule
from editors.checkpoint import read_config, read_model, read_tokenizer
from editors.errors import BadRequest, BaseUnreadable, DeviceBusy, PermanentError
from editors.hashing import folder_of, hash_folder

# Tokens of the context that are kept for an answer: a prompt may have all the others.
ANSWER_ROOM = 64
SAMPLE_TEXT = "The capital of France is"  # to try out what the code of a family says nowhere
UNBOUNDED_CONTEXT = 1 << 20  # for configurations that state none
# The papers edit layers 18 to 20 of 32. Three quarters up, experts say the same after more phrasings (docs/experiments.md).
DEFAULT_DEPTH = 0.75


@dataclass(frozen=True, slots=True)
class Said:
    """One answer; `cut`: the limit of tokens ended it, not the model."""

    text: str
    cut: bool


class Base:
    """A Hugging Face causal LM with its tokenizer, its layout and the hash of its weights.

    Promises: parameters are frozen and never written; two bases with one `hash` give the same answers.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        base_hash: str,
        layer: int | None = None,
        ffn_module: str | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.hash = base_hash
        self.layout: Layout = layout_of(model.config.model_type, ffn_module=ffn_module)
        self.layers: nn.ModuleList = submodule(model, self.layout.layers)  # type: ignore[assignment]
        self.final_norm = submodule(model, self.layout.final_norm)
        self.lm_head: nn.Module = model.get_output_embeddings()
        count = len(self.layers)
        self.layer = min(count - 1, math.floor(DEFAULT_DEPTH * count)) if layer is None else layer
        if not 0 <= self.layer < count:
            raise BadRequest(f"model.layer = {self.layer}, but the base has layers 0 to {count - 1}")
        self.ffn = submodule(self.layers[self.layer], self.layout.ffn)
        self.down_proj = submodule(self.layers[self.layer], self.layout.down_proj)
        self.vocabulary = int(model.get_input_embeddings().num_embeddings)
        self.hidden_size = int(model.config.hidden_size)
        self.context = int(getattr(model.config, "max_position_embeddings", 0) or UNBOUNDED_CONTEXT)
        if tokenizer.eos_token_id is None:
            raise BaseUnreadable(
                "the base's tokenizer has no end-of-sequence token: set eos_token in its config"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.pad_id = int(tokenizer.pad_token_id)
        self.eos_id = int(tokenizer.eos_token_id)
        self._stop_ids = frozenset((self.eos_id, *_newline_token_ids(tokenizer)))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype  # type: ignore[no-any-return]

    @property
    def ffn_width(self) -> int:
        """The width of the FFN's last projection's input, which SCEN's experts read."""
        weight: Tensor = self.down_proj.weight  # type: ignore[assignment]
        # GPT-2's Conv1D keeps (in, out), every Linear keeps (out, in).
        return int(weight.shape[1] if weight.shape[0] == self.hidden_size else weight.shape[0])

    @cached_property
    def adds_directly(self) -> bool:
        """Whether what an FFN puts out is added to the residual stream as it is: no norm or factor stands between.

        Then an expert's delta goes straight on top of what leaves the edited layer, which need not run again. Tried out,
        for the code of a family says it nowhere.
        """
        ids = torch.tensor([self._encode(SAMPLE_TEXT)], device=self.device)
        leaving: list[Tensor] = []

        def more(_: Any, __: Any, out: Tensor) -> Tensor:
            return out + leaving[0].float().pow(2).mean().sqrt().to(out.dtype)

        def leave(_: Any, __: Any, out: Any) -> None:
            leaving.append(out[0] if isinstance(out, tuple) else out)

        with ExitStack() as hooks, device_errors(), torch.no_grad():
            hooks.callback(self.layers[self.layer].register_forward_hook(leave).remove)
            self.model.base_model(input_ids=ids)
            for module in (self.ffn, self.down_proj):
                hooks.callback(module.register_forward_hook(more).remove)
            self.model.base_model(input_ids=ids)
        before, after = (hidden.float() for hidden in leaving)
        size = before.pow(2).mean().sqrt()
        return bool((after - before - 2 * size).pow(2).mean().sqrt() < 0.05 * size)

    @property
    def max_prompt_tokens(self) -> int:
        """The longest prompt that leaves room for an answer."""
        return self.context - min(ANSWER_ROOM, self.context // 4)

    def fits(self, prompt: str) -> bool:
        """Whether the base can read the prompt and still has room for an answer."""
        return len(self._encode(prompt)) <= self.max_prompt_tokens

    def can_answer(self, prompt: str, answer: str) -> bool:
        """Whether the base can read the prompt and has room for this answer behind it."""
        try:
            self.answer_ids(prompt, answer)
        except BadRequest:
            return False
        return True

    def prompt_ids(self, prompt: str) -> list[int]:
        """Token ids of a prompt as the model reads it, special tokens included.

        Raises:
            BadRequest: the prompt leaves no room for an answer.
        """
        ids = self._encode(prompt)
        if len(ids) > self.max_prompt_tokens:
            raise BadRequest(
                f"the prompt has {len(ids)} tokens, the base reads at most {self.max_prompt_tokens}: shorten it"
            )
        return ids

    def answer_ids(self, prompt: str, answer: str, *, prompt_ids: Sequence[int] | None = None) -> list[int]:
        """Token ids that the model must generate after `prompt` to say `answer` and stop.

        Raises:
            BadRequest: prompt and answer together are longer than the context.
        """
        prefix = list(prompt_ids) if prompt_ids is not None else self.prompt_ids(prompt)
        gap = "" if not prompt or prompt[-1].isspace() else " "
        whole = self._encode(prompt + gap + answer)
        # A tokenizer may join the prompt's end with the answer's beginning.
        joined = whole[: len(prefix)] != prefix
        tail = self._encode(gap + answer, special=False) if joined else whole[len(prefix) :]
        if len(prefix) + len(tail) + 1 > self.context:
            raise BadRequest(
                f"prompt and answer have {len(prefix) + len(tail)} tokens, too many for the base"
            )
        return [*tail, self.eos_id]

    def _encode(self, text: str, *, special: bool = True) -> list[int]:
        # Text that looks like a special token is text: nobody ends a prompt from inside it.
        ids: list[int] = self.tokenizer(text, add_special_tokens=special, split_special_tokens=True)[
            "input_ids"
        ]
        while ids and ids[-1] == self.eos_id:  # some tokenizers close every text by themselves
            ids = ids[:-1]
        return ids

    def pad(
        self, rows: Sequence[Sequence[int]], *, side: str, width: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Rows of token ids as (B, T) ids and (B, T) attention mask, padded on `side` to the longest or to `width`."""
        width = max(len(row) for row in rows) if width is None else width
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            where = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
            ids[index, where] = torch.tensor(row, dtype=torch.long)
            mask[index, where] = 1
        return ids.to(self.device), mask.to(self.device)

    def generate_ids(self, rows: Sequence[Sequence[int]], *, max_new_tokens: int) -> list[list[int]]:
        """Greedy continuations of one batch of prompts, up to and without the token that stops each."""
        ids, mask = self.pad(rows, side="left")
        return [self.before_stop(row) for row in self.continue_ids(ids, mask, max_new_tokens=max_new_tokens)]

    def generate_scored(
        self, rows: Sequence[Sequence[int]], *, max_new_tokens: int
    ) -> list[tuple[list[int], float]]:
        """The same with the token that stopped each, if one did, and the mean log-probability of all of them."""
        ids, mask = self.pad(rows, side="left")
        out = self._continue(
            ids, mask, max_new_tokens=max_new_tokens, output_logits=True, return_dict_in_generate=True
        )
        chosen = out.sequences[:, ids.shape[1] :]
        # (B, A) log-probability of each greedy token, a step at a time: the vocabulary is wide.
        steps = [logits.float().log_softmax(-1).amax(-1) for logits in out.logits]
        logp = torch.stack(steps, dim=1).tolist()
        closed = [self.until_stop(row) for row in chosen.tolist()]
        return [(row, sum(of[: len(row)]) / len(row)) for row, of in zip(closed, logp, strict=True)]

    def stops(self, row: Sequence[int]) -> bool:
        """Whether a token that stops an answer is among generated ids."""
        return any(token in self._stop_ids for token in row)

    def before_stop(self, row: Sequence[int]) -> list[int]:
        """Generated ids up to and without the first that stops an answer."""
        closed = self.until_stop(row)
        return closed[:-1] if closed and closed[-1] in self._stop_ids else closed

    def until_stop(self, row: Sequence[int]) -> list[int]:
        """Generated ids up to and with the first that stops an answer."""
        end = next((i for i, token in enumerate(row) if token in self._stop_ids), len(row))
        return list(row[: end + 1])

    def continue_ids(
        self, ids: Tensor, mask: Tensor, *, max_new_tokens: int, **inputs: Any
    ) -> list[list[int]]:
        """Greedy continuations of (B, T) rows padded on the left; `inputs` go to the model, such as a cache."""
        out = self._continue(ids, mask, max_new_tokens=max_new_tokens, **inputs)
        continued: list[list[int]] = out[:, ids.shape[1] :].tolist()
        return continued

    def _continue(self, ids: Tensor, mask: Tensor, *, max_new_tokens: int, **inputs: Any) -> Any:
        max_new_tokens = self.most_new_tokens(ids.shape[1], max_new_tokens)
        with device_errors(), torch.inference_mode():
            return self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=max_new_tokens,
                **{"use_cache": True, "return_dict_in_generate": False, **inputs},
                do_sample=False,
                num_beams=1,
                eos_token_id=sorted(self._stop_ids),
                pad_token_id=self.pad_id,
            )

    def decode(self, ids: Sequence[int]) -> str:
        """Generated ids as stripped text of one line."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True)
        return text.split("\n", 1)[0].strip()

    def generate(
        self, prompts: Sequence[str], *, max_new_tokens: int = 32, batch_size: int = 64
    ) -> list[str]:
        """The base's own greedy answers, in the order of `prompts`."""
        said = self.generate_said(prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
        return [one.text for one in said]

    def generate_said(
        self, prompts: Sequence[str], *, max_new_tokens: int = 32, batch_size: int = 64
    ) -> list[Said]:
        """The same, each with whether it was cut."""
        rows = [self.prompt_ids(prompt) for prompt in prompts]
        said = [Said("", cut=False)] * len(rows)
        for chunk in length_sorted_chunks(rows, batch_size):
            ids = [rows[i] for i in chunk]
            most = self.most_new_tokens(max(map(len, ids)), max_new_tokens)
            outputs = self.generate_ids(ids, max_new_tokens=most)
            for index, output in zip(chunk, outputs, strict=True):
                said[index] = self.said(output, most=most)
        return said

    def most_new_tokens(self, columns: int, max_new_tokens: int) -> int:
        """How many tokens a batch of so many columns may be given: as many as asked for, if there is room for them."""
        return max(1, min(max_new_tokens, self.context - columns))

    def said(self, output: Sequence[int], *, most: int) -> Said:
        """Generated ids, of which there could be so many, as an answer."""
        # The token that stops an answer is not among them: as many as there could be have none.
        return Said(self.decode(output), cut=len(output) >= most)


def length_sorted_chunks(rows: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Indices of `rows` in chunks of like length, so that little is padded."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def load_base(
    path: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    ffn_module: str | None = None,
    layer: int | None = None,
) -> Base:
    """Load a causal LM from a directory or a hub id; safetensors only, no remote code.

    Args:
        device: "auto" (CUDA where there is one, else CPU) or a torch device.
        dtype: "auto" (as stored), "float32", "bfloat16" or "float16".

    Raises:
        BaseUnreadable: nothing loadable is there.
        UnknownArchitecture: the FFN cannot be found; the message names the setting to give.
    """
    place = str(path)
    try:
        config = read_config(place)
        layout_of(config.model_type, ffn_module=ffn_module)  # before gigabytes are read
        model = read_model(place, config, _dtype(dtype))
        tokenizer = read_tokenizer(place)
        folder = folder_of(place)
    except PermanentError:
        raise
    except Exception as error:  # damaged files make transformers, safetensors and tokenizers raise anything
        raise BaseUnreadable(
            f"cannot load a causal LM from {place!r}: {_first_line(error)}. Set model.path to a directory with "
            "config.json, *.safetensors and a tokenizer, or to a hub id that this machine can reach"
        ) from error
    target = pick_device(device)
    with device_errors():
        model = model.to(target)
    return Base(model, tokenizer, base_hash=hash_folder(folder), layer=layer, ffn_module=ffn_module)


def pick_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU.

    Raises:
        BadRequest: the named device does not exist on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise BadRequest(
            f"model.device = {device!r} is no torch device: use auto, cpu or cuda[:N]"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BadRequest("model.device asks for CUDA, but torch sees no CUDA device here: use auto or cpu")
    return chosen


@contextmanager
def device_errors() -> Iterator[None]:
    """The one border where the device's own errors become Upkeep's."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceBusy(
            f"the device is out of memory: {_first_line(error)}", retry_after_seconds=10.0
        ) from error


def _dtype(name: str) -> Any:
    known = {"auto": "auto", "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise BadRequest(f"model.dtype = {name!r}: use one of {', '.join(known)}")
    return known[name]


def _newline_token_ids(tokenizer: Any) -> list[int]:
    # Byte-level BPE writes a newline as "Ċ", SentencePiece as "<0x0A>" or itself.
    marks = ("\n", "Ċ", "<0x0A>")
    return sorted(i for token, i in tokenizer.get_vocab().items() if any(mark in token for mark in marks))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
