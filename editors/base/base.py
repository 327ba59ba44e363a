"""The base model: loaded once, hashed, never changed."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, StoppingCriteriaList

from editors.base.architectures import Layout, layout_of, require_projection, submodule
from editors.base.chat_template import ChatMode
from editors.base.devices import device_errors, pick_device, pick_dtype
from editors.base.endings import Ending
from editors.base.line_stop import LineStop
from editors.base.prompt_reader import PromptReader
from editors.pretrained.checkpoint import read_config, read_model, read_tokenizer
from editors.pretrained.hashing import BaseHash, as_base_hash, folder_of, hash_base, hash_loaded
from edits.errors import BadRequest, BaseUnreadable, PermanentError, first_line
from edits.prompts import Prompt, prompt_list

SAMPLE_TEXT = "The capital of France is"  # to try out what the code of a family says nowhere
UNBOUNDED_CONTEXT = 1 << 20  # for configurations that state none
# The papers edit layers 18 to 20 of 32. Three quarters up, experts say the same after more phrasings (docs/experiments.md).
DEFAULT_DEPTH = 0.75


@dataclass(frozen=True, slots=True)
class CompletionOutput:
    """One answer; `truncated`: the limit of tokens ended it, not the model.

    Attributes:
        prompt_tokens: how many tokens the model read.
        new_tokens: how many it generated, with the one that ended the answer.
    """

    text: str
    truncated: bool
    prompt_tokens: int = 0
    new_tokens: int = 0


class Base(PromptReader):
    """A Hugging Face causal LM with its tokenizer, its layout and the hash of its weights.

    Promises: parameters are frozen and never written; two bases with one `hash` give the same answers.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        base_hash: str | BaseHash | None = None,
        layer: int | None = None,
        ffn_module: str | None = None,
        chat: ChatMode = "auto",
    ) -> None:
        """
        Args:
            base_hash: what `load_base` found over the files; None, for a model that is loaded already: over its weights,
                configuration and tokenizer, which takes a pass over the weights.

        Raises:
            BadRequest: the layer does not exist, or chat is on for a tokenizer without a chat template.
            BaseUnreadable: the tokenizer has no end of a sequence, or chat is on and the chat template cannot be used.
        """
        self.model = model.eval().requires_grad_(False)
        self.known_as = as_base_hash(hash_loaded(model, tokenizer) if base_hash is None else base_hash)
        self.hash = self.known_as.current
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
        require_projection(self.down_proj, self.layout.down_proj)
        self.vocabulary = int(model.get_input_embeddings().num_embeddings)
        self.hidden_size = int(model.config.get_text_config().hidden_size)
        self.accepted = False  # whether `passes.prove_replayable` has looked at it
        super().__init__(tokenizer, context=_context(model.config), chat=chat)
        self.pad_id = int(tokenizer.pad_token_id)
        self._set_endings(_decode_greedily(model, eos_id=self.eos_id, pad_id=self.pad_id))

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

    def pad(self, rows: Sequence[Sequence[int]], *, side: str) -> tuple[Tensor, Tensor]:
        """Rows of token ids as (B, T) ids and (B, T) attention mask, padded on `side` to the longest."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            where = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
            ids[index, where] = torch.tensor(row, dtype=torch.long)
            mask[index, where] = 1
        return ids.to(self.device), mask.to(self.device)

    def generate_ids(
        self, rows: Sequence[Sequence[int]], *, max_new_tokens: int, ending: Ending | None = None
    ) -> list[list[int]]:
        """Greedy continuations of one batch of prompts, up to and without the token that stops each.

        Args:
            ending: that of the prompts, which are of one form; None: that of plain ones.
        """
        ending = ending or self.plain_ending
        ids, mask = self.pad(rows, side="left")
        out = self._continue(ids, mask, max_new_tokens=max_new_tokens, ending=ending)
        return [ending.before_stop(row) for row in out.sequences[:, ids.shape[1] :].tolist()]

    def generate_scored(
        self, rows: Sequence[Sequence[int]], *, max_new_tokens: int, ending: Ending | None = None
    ) -> list[tuple[list[int], float]]:
        """The same with the token that stopped each, if one did, and the mean log-probability of all of them."""
        ending = ending or self.plain_ending
        ids, mask = self.pad(rows, side="left")
        out = self._continue(ids, mask, max_new_tokens=max_new_tokens, ending=ending, scored=True)
        chosen = out.sequences[:, ids.shape[1] :]
        # (B, A) log-probability of each greedy token, a step at a time: the vocabulary is wide.
        steps = [logits.float().log_softmax(-1).amax(-1) for logits in out.logits]
        logp = torch.stack(steps, dim=1).tolist()
        closed = [ending.until_stop(row) for row in chosen.tolist()]
        return [(row, sum(of[: len(row)]) / len(row)) for row, of in zip(closed, logp, strict=True)]

    def _continue(
        self,
        ids: Tensor,
        mask: Tensor,
        *,
        max_new_tokens: int,
        ending: Ending,
        scored: bool = False,
    ) -> Any:
        plan = GenerationConfig(
            max_new_tokens=self.new_token_limit(ids.shape[1], max_new_tokens),
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=sorted(ending.stop_ids),
            pad_token_id=self.pad_id,
            output_logits=scored,
            return_dict_in_generate=True,
        )
        stopping = [LineStop(ending.lines, ids)] if ending.lines.breaks else []
        with device_errors(), torch.inference_mode():
            return self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=plan,
                stopping_criteria=StoppingCriteriaList(stopping),
            )

    def decode(self, ids: Sequence[int], *, ending: Ending | None = None) -> str:
        """Generated ids as stripped text: one line of it, or all that answers a conversation."""
        # Cleaned up, a text is another one: " ," becomes ",".
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return (ending or self.plain_ending).text(text)

    def generate(
        self, prompts: Sequence[Prompt], *, max_new_tokens: int = 32, batch_size: int = 64
    ) -> list[str]:
        """The base's own greedy answers, in the order of `prompts`."""
        outputs = self.generate_outputs(prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
        return [output.text for output in outputs]

    def generate_outputs(
        self, prompts: Prompt | Sequence[Prompt], *, max_new_tokens: int = 32, batch_size: int = 64
    ) -> list[CompletionOutput]:
        """The same, each with whether it was truncated."""
        prompts = prompt_list(prompts)
        found = [CompletionOutput("", truncated=False)] * len(prompts)
        for chunk in self.batches(prompts, batch_size):
            limit = self.new_token_limit(chunk.columns, max_new_tokens)
            outputs = self.generate_ids(chunk.ids, max_new_tokens=limit, ending=chunk.ending)
            for place, ids, output in zip(chunk.places, chunk.ids, outputs, strict=True):
                found[place] = self.completion(
                    output, limit=limit, ending=chunk.ending, prompt_tokens=len(ids)
                )
        return found

    def batches(self, prompts: Sequence[Prompt], size: int) -> Iterator["PromptBatch"]:
        """Prompts in batches of one form and like length.

        Raises:
            BadRequest: see `prompt_ids`; before the first batch.
        """
        rows = [self.prompt_ids(prompt) for prompt in prompts]
        endings = [self.ending(prompt) for prompt in prompts]
        for ending in dict.fromkeys(endings):
            of_form = [place for place, one in enumerate(endings) if one is ending]
            for chunk in length_sorted_chunks([rows[place] for place in of_form], size):
                places = [of_form[n] for n in chunk]
                yield PromptBatch(places, [rows[place] for place in places], ending)

    def new_token_limit(self, columns: int, max_new_tokens: int) -> int:
        """How many tokens a batch of so many columns may be given: as many as asked for, if there is room for them."""
        return max(1, min(max_new_tokens, self.context - columns))

    def completion(
        self, output: Sequence[int], *, limit: int, ending: Ending | None = None, prompt_tokens: int = 0
    ) -> CompletionOutput:
        """Generated ids, of which there could be `limit`, as an answer."""
        # The token that stops an answer is not among them: as many as there could be have none.
        closed = (ending or self.plain_ending).is_closed(output)  # or it is its last
        truncated = len(output) >= limit and not closed
        new_tokens = len(output) + (not truncated and not closed)
        return CompletionOutput(self.decode(output, ending=ending), truncated, prompt_tokens, new_tokens)


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Prompts of one form: where they stand among all, their token ids, what stops their answers."""

    places: list[int]
    ids: list[list[int]]
    ending: Ending

    @property
    def columns(self) -> int:
        """How wide the padded batch is."""
        return max(map(len, self.ids))


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
    chat: ChatMode = "auto",
) -> Base:
    """Load a causal LM from a directory or a hub id; safetensors only, no remote code.

    Args:
        device: "auto" (CUDA where there is one, else CPU) or a torch device.
        dtype: "auto" (as stored), "float32", "bfloat16" or "float16".
        chat: "auto" (through the chat template, too, where the tokenizer has one that can be used), "on" (refuse one
            without) or "off".

    Raises:
        BaseUnreadable: nothing loadable is there.
        UnknownArchitecture: the FFN cannot be found; the message names the setting to give.
        BadRequest: a setting that this machine or this base cannot follow.
    """
    place = str(path)
    try:
        config = read_config(place)
        layout_of(config.model_type, ffn_module=ffn_module)  # before gigabytes are read
        model = read_model(place, config, pick_dtype(dtype))
        tokenizer = read_tokenizer(place)
        folder = folder_of(place)
    except PermanentError:
        raise
    except Exception as error:  # damaged files make transformers, safetensors and tokenizers raise anything
        raise BaseUnreadable(
            f"cannot load a causal LM from {place!r}: {first_line(error)}. Set model.path to a directory with "
            "config.json, *.safetensors and a tokenizer, or to a hub id that this machine can reach"
        ) from error
    target = pick_device(device)
    with device_errors():
        model = model.to(target)
    return Base(model, tokenizer, base_hash=hash_base(folder), layer=layer, ffn_module=ffn_module, chat=chat)


def _context(config: Any) -> int:
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", 0) or UNBOUNDED_CONTEXT)


def _decode_greedily(model: Any, *, eos_id: int, pad_id: int) -> tuple[int, ...]:
    """Take a checkpoint's own settings of generation away, but for what ends a sequence, and return that.

    Whatever they add to greedy decoding (penalties, stop strings, beams) would make an edited answer another one.
    """
    eos = getattr(model.generation_config, "eos_token_id", None)
    listed: Iterable[Any] = eos if isinstance(eos, list | tuple) else (eos,)
    ends = tuple(dict.fromkeys((eos_id, *(int(one) for one in listed if one is not None))))
    model.generation_config = GenerationConfig(eos_token_id=list(ends), pad_token_id=pad_id)
    return ends
