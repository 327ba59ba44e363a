"""The plainest baseline: fine-tune the edited projection itself, fact after fact; no experts, no routes.

    python benchmarks/fine_tuning.py --model DIR --facts FACTS.jsonl [--probes FAR.jsonl] --edits 500

Prints one JSON object with the scores by free generation after all edits.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from daemon.evaluation.facts_file import EvaluationFact, read_facts, read_probes
from editors.base.base import Base, load_base
from editors.base.passes import Replay, answer_logits, row_losses, training_rows
from editors.methods.common.training_batch import make_training_batch
from edits.names.surface import SurfaceIndex
from edits.requests import EditRequest

STEPS = 20
LEARNING_RATE = 1e-3


def fine_tune(
    model: str, facts: Path, probes: Path | None, *, seed: int, edits: int | None = None
) -> dict[str, float | None]:
    """Reliability, generality and locality after fine-tuning on every fact in turn."""
    torch.manual_seed(seed)
    base = load_base(model)
    known = {fact.prompt: fact for fact in read_facts(facts, edits)}  # the newest of a prompt
    far = [probe.prompt for probe in read_probes(probes)] if probes else []
    names = SurfaceIndex()
    for index, fact in enumerate(known.values()):
        names.add(str(index), [fact.subject])
    local = {
        "far": [p for p in far if not names.find(p)],
        "relation": [p for f in known.values() for p in f.locality_prompts.relation if not names.find(p)],
    }
    before = {kind: base.generate(prompts) for kind, prompts in local.items()}
    for fact in known.values():
        _learn(base, fact)
    own = [(f.prompt, f.target_new) for f in known.values()]
    rephrased = [(p, f.target_new) for f in known.values() for p in f.rephrase_prompts]
    scores = {"reliability": _share(base, own), "generality": _share(base, rephrased)}
    for kind, prompts in local.items():
        scores[f"locality.{kind}"] = _share(base, list(zip(prompts, before[kind], strict=True)))
    return scores


def _learn(base: Base, fact: EvaluationFact) -> None:
    request = EditRequest("0", fact.subject, fact.prompt, fact.target_new, accepted=True)
    rows = training_rows(base, make_training_batch(base, [request], rephrases=0, seed=0).plain)
    replay = Replay(base, rows.ids, rows.mask)
    weight = base.down_proj.weight
    assert isinstance(weight, torch.nn.Parameter)  # noqa: S101 - for the type checker
    weight.requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=LEARNING_RATE)
    for _ in range(STEPS):
        loss = row_losses(answer_logits(base, replay.hidden(), rows.positions), rows.targets).mean()
        if loss < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # as torch leaves it
        optimizer.step()
    weight.requires_grad_(False)


def _share(base: Base, pairs: Sequence[tuple[str, str]]) -> float | None:
    if not pairs:
        return None
    answers = base.generate([prompt for prompt, _ in pairs])
    return sum(text == wanted.strip() for text, (_, wanted) in zip(answers, pairs, strict=True)) / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", required=True)
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--probes", type=Path)
    parser.add_argument("--edits", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        json.dumps(
            fine_tune(options.model, options.facts, options.probes, seed=options.seed, edits=options.edits)
        )
    )


if __name__ == "__main__":
    main()
