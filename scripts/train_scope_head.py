"""Train the pair head that is shipped, for the default encoder or another one, on this repository's own corpus.

    python scripts/train_scope_head.py [--encoder DIR] [--out FILE] [--seed 0]

Takes about a quarter of an hour on one core. How the result does on facts files, and what of
them its corpus holds: benchmarks/scope_head.py.
"""

import argparse
from pathlib import Path

from editors.index import DEFAULT_ENCODER
from editors.index.encoder import load_encoder
from editors.index.learning.corpus import read_corpus
from editors.index.learning.training import train_head
from editors.store.durable import sha256_of

SHIPPED = Path(__file__).parents[1] / "editors" / "index" / "data" / "head.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    head = train_head(load_encoder(options.encoder), read_corpus(), seed=options.seed)
    head.save(options.out)
    digest = sha256_of(options.out)  # for the card, HEAD.md
    print(f"{options.out}: {options.out.stat().st_size} bytes, encoder {head.encoder_hash}, sha256 {digest}")


if __name__ == "__main__":
    main()
