"""Trains the tiny base from scratch on the fact world, measures it and writes its model card.

    python -m demo.training.train_base --out demo/base

One seed, CPU, two threads. Everything that is shipped in `demo/base/` is written by this script. On a machine
that is shared with other work, set OMP_WAIT_POLICY=PASSIVE: threads that wait for each other then let others run.
"""

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from demo.training.base_model import BaseModel
from demo.training.corpus import BaseCorpus, Piece
from demo.training.model_card import model_card
from demo.training.recipe import Recipe
from demo.world.world import World

BOS, EOS, PAD = 0, 1, 2
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
# Which share of the tokens of a prompt and of plain text the loss counts; an answer counts whole.
PROMPT_SHARE, PLAIN_SHARE = 0.1, 0.3


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of packed text: `ids` (B, T), and which of them the loss counts, `counted` (B, T) bool."""

    ids: Tensor
    counted: Tensor


def train_tokenizer(corpus: BaseCorpus, recipe: Recipe) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that puts `<s>` in front of every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus.vocabulary_text(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def build_model(recipe: Recipe, vocabulary: int) -> Any:
    """An untrained Llama of the recipe's size."""
    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


def batches(corpus: BaseCorpus, tokenizer: Any, recipe: Recipe) -> Iterator[Batch]:
    """Windows of several pieces, one behind the other, for ever.

    Every second window begins somewhere inside a piece, the others at a piece's beginning; most pieces
    have their `<s>`, some follow the text before them without it.
    """
    rng = random.Random(f"windows {recipe.seed}")
    pieces = _encoded(corpus, tokenizer, rng)
    rest: list[tuple[int, bool]] = []
    while True:
        rows = []
        for _ in range(recipe.batch):
            window = rest if rng.random() < 0.5 else []
            while len(window) <= recipe.window:
                window = window + next(pieces)
            rows.append(window[: recipe.window])
            rest = window[recipe.window :]
        yield Batch(
            ids=torch.tensor([[token for token, _ in row] for row in rows]),
            counted=torch.tensor([[counts for _, counts in row] for row in rows]),
        )


def _encoded(corpus: BaseCorpus, tokenizer: Any, rng: random.Random) -> Iterator[list[tuple[int, bool]]]:
    """Each piece as (token, counts) pairs: the answer and the end behind it count, of the rest a share."""
    source = corpus.pieces(rng)
    while True:
        chunk = [next(source) for _ in range(512)]
        texts = [text for piece in chunk for text in (piece.before + piece.prompt, _answer(piece))]
        encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
        for i, piece in enumerate(chunk):
            share = PLAIN_SHARE if piece.answer is None else PROMPT_SHARE
            first = [] if rng.random() < 0.1 else [(BOS, False)]
            body = [(token, rng.random() < share) for token in encoded[2 * i]]
            yield [*first, *body, *((token, True) for token in encoded[2 * i + 1]), (EOS, True)]


def _answer(piece: Piece) -> str:
    return "" if piece.answer is None else f" {piece.answer}"


def loss_of(model: Any, batch: Batch) -> Tensor:
    """Next-token cross-entropy over the counted tokens; logits are made for these alone."""
    hidden = model.model(batch.ids[:, :-1]).last_hidden_state  # (B, T-1, H)
    counted = batch.counted[:, 1:]
    return functional.cross_entropy(model.lm_head(hidden[counted]), batch.ids[:, 1:][counted])


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine down to a fiftieth."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def train(world: World, recipe: Recipe, *, probe_every: int = 300) -> BaseModel:
    """Train from scratch, printing loss and a probe of what is known so far."""
    corpus = BaseCorpus.of(world)
    tokenizer = train_tokenizer(corpus, recipe)
    model = build_model(recipe, len(tokenizer))
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )
    source = batches(corpus, tokenizer, recipe)
    base, started = BaseModel(model, tokenizer), time.monotonic()
    sample = random.Random(recipe.seed).sample(world.facts, 100)
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        loss = loss_of(model, next(source))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % probe_every == 0 or step + 1 == recipe.steps:
            model.eval()
            known = base.measure(world, sample, phrasings_each=2)
            model.train()
            print(
                f"step {step + 1}/{recipe.steps} loss {loss.item():.3f} "
                f"trained {known.trained_phrasings:.3f} held out {known.held_out_phrasings:.3f} "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
    model.eval()
    return base


def save(base: BaseModel, folder: Path) -> None:
    """Weights, tokenizer and generation settings as `transformers` reads them; nothing but safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    base.model.save_pretrained(folder, safe_serialization=True)
    base.tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # weights come out readable by their owner alone, and installed files keep that


def main() -> None:
    """Train, save, load again, measure everything, write the card."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("demo/base"))
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--seed", type=int, default=Recipe().seed)
    options = parser.parse_args()
    recipe = Recipe(seed=options.seed, steps=options.steps)
    torch.set_num_threads(recipe.threads)
    world = World.generate(0)
    started = time.monotonic()
    save(train(world, recipe), options.out)
    minutes = (time.monotonic() - started) / 60
    known = BaseModel.load(options.out).measure(world, world.facts, phrasings_each=4)
    card = model_card(world, recipe, known, minutes=minutes, folder=options.out)
    (options.out / "README.md").write_text(card, encoding="utf-8")
    print(json.dumps({"held_out": known.held_out_phrasings, "trained": known.trained_phrasings}))


if __name__ == "__main__":
    main()
