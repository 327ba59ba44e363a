"""Train the pair head of an encoder on the corpus: a minute or two of encoding, half a minute of learning, on one core."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from editors.index.corpus import Corpus
from editors.index.encoder import TextEncoder
from editors.index.head import PairHead

HIDDEN = 192
EPOCHS = 24
BATCH = 4096
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-4
DROPOUT = 0.2
# Pairs of each anchor in an epoch: phrasings of its relation, its near misses, phrasings of its topic's other relations, anything.
SAME, NEAR, TOPIC, FAR = 4, 5, 3, 2


def train_head(encoder: TextEncoder, corpus: Corpus, *, seed: int = 0) -> PairHead:
    """Learn to tell phrasings of one relation from everything that looks alike; repeatable by seed on one machine."""
    vectors = encoder.encode(corpus.texts)
    generator = torch.Generator().manual_seed(seed)
    network = _parameters(encoder.width, generator)
    optimizer = torch.optim.AdamW(network, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    sampler = _Sampler(corpus, generator)
    for _ in range(EPOCHS):
        for u, v, wanted in sampler.epoch():
            loss = _loss(network, vectors[u], vectors[v], wanted, generator)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    w1, b1, w2, b2 = (p.detach() for p in network)
    return PairHead(encoder.hash, w1, b1, w2, b2, encoder.encode(corpus.bank()))


def _parameters(width: int, generator: torch.Generator) -> list[Tensor]:
    # Entries of unit vectors are about width ** -.5: the products of two are scaled up to unit size by the first layer.
    w1 = torch.randn(HIDDEN, 2 * width, generator=generator)
    w1[:, :width] *= width**0.5 / 4
    w1[:, width:] /= 4
    w2 = torch.randn(HIDDEN, generator=generator) / HIDDEN**0.5
    return [p.requires_grad_() for p in (w1, torch.zeros(HIDDEN), w2, torch.zeros(()))]


def _loss(
    network: Sequence[Tensor], u: Tensor, v: Tensor, wanted: Tensor, generator: torch.Generator
) -> Tensor:
    w1, b1, w2, b2 = network
    hidden = torch.relu(torch.cat([u * v, (u - v).abs()], dim=-1) @ w1.T + b1)
    kept = (torch.rand(hidden.shape, generator=generator) >= DROPOUT) / (1 - DROPOUT)
    return torch.nn.functional.binary_cross_entropy_with_logits((hidden * kept) @ w2 + b2, wanted)


class _Sampler:
    """Draws pairs of places in `corpus.texts`: each phrasing of each relation is an anchor once an epoch."""

    def __init__(self, corpus: Corpus, generator: torch.Generator) -> None:
        place = {text: n for n, text in enumerate(corpus.texts)}
        relations = corpus.relations
        self._generator = generator
        same = [[place[t] for t in r.phrasings] for r in relations]
        self._same, self._near = same, [[place[t] for t in r.near_misses] for r in relations]
        self._topic = [
            [
                p
                for other, r2 in zip(same, relations, strict=True)
                if r2.topic == r.topic and r2 is not r
                for p in other
            ]
            for r in relations
        ]
        self._any = [place[t] for t in corpus.any_subject]
        self._owner = torch.full(
            (len(place),), -1
        )  # which relation a text belongs to, as a phrasing or as a near miss
        for n, (own, near) in enumerate(zip(self._same, self._near, strict=True)):
            self._owner[own + near] = n

    def epoch(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches of anchors (B,), texts beside them (B,), and whether they ask one fact (B,)."""
        parts = [part for n in range(len(self._same)) for part in self._of(n)]
        u, v, wanted = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        order = torch.randperm(len(u), generator=self._generator)
        for chunk in order.split(BATCH):
            yield u[chunk], v[chunk], wanted[chunk]

    def _of(self, n: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        anchors = torch.tensor(self._same[n])
        everything = torch.arange(len(self._owner))
        foreign = everything[self._owner != n]
        drawn = (
            (self._same[n], SAME, 1.0),
            (self._near[n], NEAR, 0.0),
            (self._topic[n], TOPIC, 0.0),
            (self._any, 1, 0.0),
        )
        for texts, count, same in drawn:
            if texts:
                yield self._drawn(anchors, torch.tensor(texts), count, same)
        yield self._drawn(anchors, foreign, FAR, 0.0)

    def _drawn(
        self, anchors: Tensor, texts: Tensor, count: int, same: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        u = anchors.repeat(count)
        chosen = torch.randint(len(texts), (len(u),), generator=self._generator)
        return u, texts[chosen], torch.full((len(u),), same)
