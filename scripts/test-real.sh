#!/usr/bin/env bash
# Fetch a real chat model (93 MB, once) and run what must hold on it: the editors' contract and tests/real, which also hold
# short evaluations against their bars. A quarter of an hour on 2 cores; the facts: docs/datasets.md.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${UPKEEP_REAL_CACHE:-.real}
bash scripts/real_base.sh "$cache"
export UPKEEP_REAL_BASE=$cache/base
.venv/bin/pytest -s -rs -m real tests/unit/editors/test_editor_contract.py tests/real
