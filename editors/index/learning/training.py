"""Train the pair head of an encoder on the corpus: about a quarter of an hour of encoding and learning on one core, once."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from editors.index.encoder import TextEncoder
from editors.index.head import PairHead, Questions, input_width, pair_input
from editors.index.learning.corpus import Corpus, Relation

HIDDEN, PROJECTED = 192, 128
PAIRS = 4_000_000  # that a member of the head sees in all
BATCH = 4096
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-4
DROPOUT = 0.2
# Noise on the vectors, in units of their entries: the corpus has few relations, and all others must be told apart too.
NOISE = 0.5
# Pairs of each anchor in an epoch: phrasings of its relation, near misses, phrasings of its topic's others, anything.
SAME, NEAR, TOPIC, FAR = 4, 7, 3, 2


def train_head(encoder: TextEncoder, corpus: Corpus, *, seed: int = 0, pairs: int = PAIRS) -> PairHead:
    """Learn to tell phrasings of one relation from everything that looks alike; repeatable by seed on one machine.

    Two members share one head and are heard alike: one learns the written relations, which are richest in near misses, the
    other also those of which a noun is known, which are many.

    Args:
        pairs: that a member sees in all.
    """
    vectors = dict(zip(corpus.texts, encoder.encode(corpus.texts), strict=True))
    parts = [corpus.written, corpus]
    members = [
        _member(part, vectors, encoder.width, seed=seed + n, pairs=pairs) for n, part in enumerate(parts)
    ]
    bank = corpus.bank()
    return PairHead(
        encoder.hash,
        projection=torch.cat([member["projection"] for member in members]),
        w1=_side_by_side([member["w1"] for member in members], encoder.width),
        b1=torch.cat([member["b1"] for member in members]),
        w2=torch.cat([member["w2"] for member in members]) / len(members),
        b2=torch.stack([member["b2"] for member in members]).mean(0),
        bank=Questions(bank, torch.stack([vectors[text] for text in bank])),
    )


def _member(
    corpus: Corpus, vectors: Mapping[str, Tensor], width: int, *, seed: int, pairs: int
) -> dict[str, Tensor]:
    texts = Questions(corpus.texts, torch.stack([vectors[text] for text in corpus.texts]))
    generator = torch.Generator().manual_seed(seed)
    network = _parameters(width, generator)
    optimizer = torch.optim.AdamW(list(network.values()), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    sampler = _Sampler(corpus, generator)
    epochs = max(1, round(pairs / sampler.pairs))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for u, v, wanted in sampler.epoch():
            one, other = (_noisy(texts.vectors[side], generator) for side in (u, v))
            words = texts.words
            read = pair_input(one, other, words.rows(u), words.rows(v), network["projection"])
            loss = _loss(network, read, wanted, generator)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return {name: parameter.detach() for name, parameter in network.items()}


def _side_by_side(members: Sequence[Tensor], width: int) -> Tensor:
    """First layers as one, (sum of h, f): each member reads its own projections and none of the others'."""
    rows = []
    for n, w1 in enumerate(members):
        plain, products, differences, words = torch.split(
            w1, [2 * width, PROJECTED, PROJECTED, w1.shape[1] - 2 * width - 2 * PROJECTED], dim=1
        )
        before, after = (
            torch.zeros(len(w1), n * PROJECTED),
            torch.zeros(len(w1), (len(members) - n - 1) * PROJECTED),
        )
        rows.append(torch.cat([plain, before, products, after, before, differences, after, words], dim=1))
    return torch.cat(rows)


def _parameters(width: int, generator: torch.Generator) -> dict[str, Tensor]:
    features = input_width(width, PROJECTED)

    def uniform(*shape: int, fan_in: int, scale: float = 1.0) -> Tensor:
        drawn: Tensor = (torch.rand(*shape, generator=generator) * 2 - 1) * (scale / fan_in**0.5)
        return drawn.requires_grad_()

    return {
        # Times five: the projections of a unit vector are brought to unit size.
        "projection": uniform(PROJECTED, width, fan_in=width, scale=5.0),
        "w1": uniform(HIDDEN, features, fan_in=features),
        "b1": uniform(HIDDEN, fan_in=features),
        "w2": uniform(HIDDEN, fan_in=HIDDEN),
        "b2": uniform(1, fan_in=HIDDEN),
    }


def _noisy(vectors: Tensor, generator: torch.Generator) -> Tensor:
    scale: float = NOISE / vectors.shape[1] ** 0.5
    return vectors + torch.randn(vectors.shape, generator=generator) * scale


def _loss(network: Mapping[str, Tensor], read: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    hidden = torch.relu(read @ network["w1"].T + network["b1"])
    kept = (torch.rand(hidden.shape, generator=generator) >= DROPOUT) / (1 - DROPOUT)
    odds = (hidden * kept) @ network["w2"] + network["b2"]
    return torch.nn.functional.binary_cross_entropy_with_logits(odds, wanted)


class _Sampler:
    """Draws pairs of places in `corpus.texts`: each phrasing of each relation is an anchor once an epoch."""

    def __init__(self, corpus: Corpus, generator: torch.Generator) -> None:
        place = {text: n for n, text in enumerate(corpus.texts)}
        relations = corpus.relations
        self._generator = generator
        self._same = [[place[text] for text in relation.phrasings] for relation in relations]
        self._near = [[place[text] for text in relation.near_misses] for relation in relations]
        self._topic = [
            [
                text
                for texts, other in zip(self._same, relations, strict=True)
                if _beside(one, other)
                for text in texts
            ]
            for one in relations
        ]
        self._any = [place[text] for text in corpus.any_subject]
        self._owner = torch.full(
            (len(place),), -1
        )  # which relation a text belongs to, as a phrasing or as a near miss
        for n, (own, near) in enumerate(zip(self._same, self._near, strict=True)):
            self._owner[own + near] = n

    @property
    def pairs(self) -> int:
        """Of one epoch."""
        return sum(len(texts) for texts in self._same) * (SAME + NEAR + TOPIC + 1 + FAR)

    def epoch(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches of anchors (B,), texts beside them (B,), and whether they ask one fact (B,)."""
        parts = [part for n in range(len(self._same)) for part in self._of(n)]
        u, v, wanted = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        order = torch.randperm(len(u), generator=self._generator)
        for start in range(0, len(order), BATCH):
            chunk = order[start : start + BATCH]
            yield u[chunk], v[chunk], wanted[chunk]

    def _of(self, n: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        anchors = torch.tensor(self._same[n])
        foreign = (self._owner != n).nonzero().squeeze(1).tolist()
        drawn: tuple[tuple[Sequence[int], int, float], ...] = (
            (self._same[n], SAME, 1.0),
            (self._near[n], NEAR, 0.0),
            (self._topic[n], TOPIC, 0.0),
            (self._any, 1, 0.0),
            (foreign, FAR, 0.0),
        )
        for texts, count, same in drawn:
            if texts:
                yield self._pairs(anchors.repeat(count), torch.tensor(texts), same)

    def _pairs(self, anchors: Tensor, texts: Tensor, same: float) -> tuple[Tensor, Tensor, Tensor]:
        chosen = torch.randint(len(texts), (len(anchors),), generator=self._generator)
        return anchors, texts[chosen], torch.full((len(anchors),), same)


def _beside(one: Relation, other: Relation) -> bool:
    return one is not other and one.topic == other.topic
