"""Can a LEMoE batch expert be a LoRA adapter? Its answers on a real model, beside those of low-rank forms of it.

    OMP_NUM_THREADS=1 python benchmarks/lora_form.py --model DIR --facts FACTS.jsonl [--edits 50] \
        [--ranks 4 8 16 32 64 128]

Prints one JSON object, and each part of it on standard error as it comes. A LEMoE expert W_out SiLU(W_in x + g_i) stands
beside the FFN and reads x; a LoRA adapter of the FFN's last projection reads what that reads, h. The forms, each B A h at
rank r:

* `batch_svd`, `batch_fit`: one adapter for the batch: the least-squares (ridge) map from h to what the expert adds, over all
  tokens of the batch's prompts and answers; cut to rank r by the singular values of its weights, or of what it puts out;
* `edit_fit`: one adapter for each edit, the same map over the edit's own tokens, cut by what it puts out;
* `trained`: one adapter for the batch, trained on the batch's rows by LEMoE's schedule in the expert's place.

Every answer is generated greedily with the expert that the edit must have (oracle routes), weights rounded as they are
stored. `own` asks the edit's prompt, `paraphrase` a rephrase that no training saw; in plain text the very value must come,
in chat it must be stated.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editors import load_base
from editors.adapters.bank import ExpertRow
from editors.base.base import Base
from editors.inference.given_experts import generate_through
from editors.methods.common.training_batch import TrainingBatch, make_training_batch
from editors.methods.common.training_rows import CachedRows, Delta, rms
from editors.methods.lemoe.lora_form import LoraPair, read_and_added, ridge_map, truncate_by_outputs
from editors.methods.lemoe.settings import LemoeSettings
from editors.methods.lemoe.training import TrainedExpert, form_of_step, train_expert
from editors.methods.scen.settings import ScenSettings
from editors.methods.scen.training import train_experts
from editors.store.header import ShardEntry, ShardHeader
from editors.store.shards import STORED_DTYPE, Shard
from edits.judging import Form, as_prompt, judge_of
from edits.requests import EditRequest

TOKENS = 24
FORMS: tuple[Form, Form] = ("plain", "chat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--edits", type=int, default=50)
    parser.add_argument("--ranks", type=int, nargs="+", default=[4, 8, 16, 32, 64, 128])
    parser.add_argument("--scen", action="store_true", help="SCEN's experts of the same facts, too")
    parser.add_argument("--fits", nargs="*", choices=FITS, default=list(FITS))
    parser.add_argument(
        "--ridges", type=float, nargs="+", default=[1e-4], help="of h's median squared length"
    )
    parser.add_argument("--trained-ranks", type=int, nargs="*", default=[8, 64, 128])
    parser.add_argument("--steps", type=int, default=100, help="of the trained form; LEMoE takes 50")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.03], help="of the trained form")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(json.dumps(measure(options)))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All forms, asked the same questions."""
    base = load_base(options.model, device="cpu")
    requests, questions = read_facts(options.facts, options.edits)
    asking = Asking(base, requests, questions)
    found: dict[str, Any] = {"conditions": {name: str(value) for name, value in vars(options).items()}}

    def tell(name: str, scores: dict[str, Any]) -> None:
        found[name] = scores
        print(json.dumps({name: scores}), file=sys.stderr, flush=True)

    batch = lemoe_batch(base, requests)
    begun = time.process_time()
    expert = rounded(train_expert(base, batch, LemoeSettings(), lambda *_: None))
    tell("lemoe", {"seconds": time.process_time() - begun, **asking.lemoe(expert)})
    if options.scen:
        tell("scen", asking.scen())
    seen = LayerActivations.of(base, requests, expert)
    for name in options.fits:
        fit = FITS[name]
        for rank in options.ranks:
            tell(f"{name}_{rank}", best(asking, {f"{r}": fit(seen, rank, r) for r in options.ridges}))
    rows = [CachedRows(base, base.down_proj, rows) for rows in batch.forms]
    for rank in options.trained_ranks:
        trained = (trained_lora(base, rows, rank, options.steps, rate) for rate in options.rates)
        tell(
            f"trained_{rank}",
            best(asking, {f"{rate}": [pair] for rate, pair in zip(options.rates, trained, strict=True)}),
        )
    return found


def read_facts(path: Path, count: int) -> tuple[list[EditRequest], list[str]]:
    """The first facts with a subject of their own and a rephrase; the rephrases are asked, never trained."""
    found: dict[str, tuple[EditRequest, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fact = json.loads(line)
        if fact["rephrase_prompts"] and len(found) < count:
            request = EditRequest(
                str(len(found)), fact["subject"], fact["prompt"], fact["target_new"], accepted=True
            )
            found.setdefault(fact["subject"], (request, fact["rephrase_prompts"][0]))
    return [request for request, _ in found.values()], [rephrase for _, rephrase in found.values()]


def lemoe_batch(base: Base, requests: Sequence[EditRequest]) -> TrainingBatch:
    """The rows that LEMoE trains a batch on."""
    s = LemoeSettings()
    return make_training_batch(
        base,
        requests,
        rephrases=s.rephrases,
        seed=s.seed,
        openings=s.openings,
        chat_answers=[request.target_new for request in requests],
        chat_rows=s.chat_rows,
    )


class Asking:
    """Asks every question in every form through experts that are given, by the daemon's own adapters."""

    def __init__(self, base: Base, requests: Sequence[EditRequest], rephrases: Sequence[str]) -> None:
        self._base = base
        self._requests = requests
        self._texts = {"own": [request.prompt for request in requests], "paraphrase": list(rephrases)}

    def lemoe(self, expert: TrainedExpert) -> dict[str, Any]:
        weights = {"lemoe.w_in": expert.w_in, "lemoe.w_out": expert.w_out, "lemoe.gate": expert.gate}
        return self._scores("lemoe", weights)

    def scen(self) -> dict[str, Any]:
        s = ScenSettings()
        batch = make_training_batch(
            self._base,
            self._requests,
            rephrases=s.rephrases,
            seed=s.seed,
            openings=s.openings,
            other_questions=s.other_questions,
            chat_answers=[request.target_new for request in self._requests],
            chat_rows=s.chat_rows,
        )
        a, b = train_experts(self._base, batch, s)
        return self._scores("scen", {"scen.a": a, "scen.b": b})

    def adapters(self, pairs: Sequence[LoraPair]) -> dict[str, Any]:
        """Of one pair for all edits, or one for each."""
        count = len(self._requests)
        a, b = (torch.stack(list(part)) for part in zip(*pairs, strict=True))
        weights = {"scen.a": a.expand(count, -1, -1), "scen.b": b.expand(count, -1, -1)}
        scores = self._scores("scen", weights)
        return {**scores, "bytes_per_edit": (a.numel() + b.numel()) * STORED_DTYPE.itemsize / count}

    def _scores(self, editor: str, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        shard = Shard(
            self._header(editor), {name: w.detach().to(STORED_DTYPE) for name, w in weights.items()}
        )
        size = sum(w.numel() for w in weights.values()) * STORED_DTYPE.itemsize
        scores: dict[str, Any] = {"bytes_per_edit": size / len(self._requests)}
        for form in FORMS if self._base.chat else FORMS[:1]:
            for name, texts in self._texts.items():
                scores[f"{form}_{name}"] = self._share(shard, texts, form)
        return scores

    def _share(self, shard: Shard, texts: Sequence[str], form: Form) -> float:
        prompts = [as_prompt(form, text) for text in texts]
        experts = [ExpertRow(shard, row) for row in range(len(texts))]
        answers = generate_through(self._base, prompts, experts, max_new_tokens=TOKENS)
        right = judge_of(form)
        pairs = zip(answers, self._requests, strict=True)
        return sum(right(text, request.target_new, None) for text, request in pairs) / len(texts)

    def _header(self, editor: str) -> ShardHeader:
        entries = tuple(
            ShardEntry(edit_id=r.edit_id, surface_forms=r.surface_forms, threshold=0.0)
            for r in self._requests
        )
        base = self._base  # never routed by: every route is given
        return ShardHeader(
            editor=editor,
            base_hash=base.hash,
            layer=base.layer,
            settings={},
            entries=entries,
            routing="neuron",
        )


def best(asking: Asking, choices: Mapping[str, Sequence[LoraPair]]) -> dict[str, Any]:
    """The choice with the most right answers, which flatters it."""
    scored = {name: asking.adapters(pairs) for name, pairs in choices.items()}
    name = max(scored, key=lambda one: sum(v for k, v in scored[one].items() if k.startswith(FORMS)))
    return {"chosen": name, **scored[name]}


def rounded(expert: TrainedExpert) -> TrainedExpert:
    """As it is stored."""
    parts = (part.detach().to(STORED_DTYPE).float() for part in (expert.w_in, expert.w_out, expert.gate))
    return TrainedExpert(*parts)


class LayerActivations:
    """What the edited layer reads on the prompts and answers of each edit, and what the expert adds there.

    Attributes:
        h: for each edit (T_i, f), what the FFN's last projection reads.
        y: for each edit (T_i, d), what the expert adds.
    """

    def __init__(self, h: list[Tensor], y: list[Tensor]) -> None:
        self.h, self.y = h, y
        self.typical = float(torch.cat(h).pow(2).sum(1).median())

    @classmethod
    def of(cls, base: Base, requests: Sequence[EditRequest], expert: TrainedExpert) -> "LayerActivations":
        """Each prompt bare, behind other text, and in chat, with its answer."""
        pairs = [
            read_and_added(
                base, r.prompt, r.target_new, expert=(expert.w_in, expert.w_out, expert.gate[owner])
            )
            for owner, r in enumerate(requests)
        ]
        return cls([h for h, _ in pairs], [y for _, y in pairs])


def batch_svd(seen: LayerActivations, rank: int, ridge: float) -> list[LoraPair]:
    """One map for all tokens, cut by the singular values of its weights."""
    return [_truncate_weights(_ridge(seen, ridge), rank)]


def batch_fit(seen: LayerActivations, rank: int, ridge: float) -> list[LoraPair]:
    """One map for all tokens, cut by the singular values of what it puts out."""
    return [truncate_by_outputs(_ridge(seen, ridge), torch.cat(seen.h), rank)]


def edit_fit(seen: LayerActivations, rank: int, ridge: float) -> list[LoraPair]:
    """A map for each edit's tokens: what workers make."""
    pairs = zip(seen.h, seen.y, strict=True)
    return [truncate_by_outputs(ridge_map(h, y, ridge=ridge), h, rank) for h, y in pairs]


def _ridge(seen: LayerActivations, ridge: float) -> Tensor:
    """(d, f)."""
    h, y = torch.cat(seen.h), torch.cat(seen.y)
    gram = h.T @ h + ridge * seen.typical * torch.eye(h.shape[1])
    solved: Tensor = torch.linalg.solve(gram, h.T @ y)
    return solved.T


def _truncate_weights(weight: Tensor, rank: int) -> LoraPair:
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    root = s[:rank].sqrt()
    return root[:, None] * v[:rank], u[:, :rank] * root


def trained_lora(base: Base, forms: Sequence[CachedRows], rank: int, steps: int, rate: float) -> LoraPair:
    """One adapter for all rows, by LEMoE's schedule; sizes relative to the base's own, as everywhere."""
    width = base.ffn_width
    a = (
        torch.randn(rank, width, generator=torch.Generator().manual_seed(0)) / math.sqrt(width)
    ).requires_grad_()
    b = torch.zeros(base.hidden_size, rank).requires_grad_()
    read, added = rms(forms[0].reads_last) / ScenSettings().read_scale, rms(forms[0].entering_last)
    optimizer = torch.optim.AdamW([a, b], lr=rate, weight_decay=0.0)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, LemoeSettings().last_rate, total_iters=steps)

    def delta_of(_owner: Tensor) -> Delta:
        return lambda x: (x.float() / read) @ a.T @ b.T * added

    largest = [math.inf] * len(forms)
    for step in range(steps):
        form = form_of_step(step, len(forms), LemoeSettings().chat_share)
        losses = forms[form].losses(delta_of)
        largest[form] = float(losses.detach().max())
        if max(largest) < LemoeSettings().stop_loss:
            break
        optimizer.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]  # as torch leaves it
        optimizer.step()
        falling.step()
    return (a / read).detach(), (b * added).detach()


FITS = {"edit_fit": edit_fit, "batch_fit": batch_fit, "batch_svd": batch_svd}

if __name__ == "__main__":
    main()
