#!/usr/bin/env bash
# Set up the real vLLM on the CPU and a real chat model, once, and run the gateway's suite against them: tests/vllm.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${UPKEEP_REAL_CACHE:-.real}
bash scripts/real_base.sh "$cache"
bash scripts/vllm_cpu.sh "$cache/vllm"
export UPKEEP_REAL_BASE=$cache/base UPKEEP_VLLM=$cache/vllm OMP_WAIT_POLICY=PASSIVE
.venv/bin/pytest -s -m vllm tests/vllm
