# The commands of this repository. A newcomer needs two: `make demo` and `make test`.

SHELL := /bin/bash
BIN := .venv/bin
# One more than two cores: what waits for a broker, an alert or a process leaves its core to the others. The files are handed
# out in the order of tests/conftest.py; the tests of a file run in random order, for none may live on what another left:
# `make test SEED=...` gives the order of a run again, whose command shows its seed.
SEED := $(or $(SEED),$(shell date +%s))
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --random-order --random-order-bucket=module --random-order-seed=$(SEED) --durations=25 -m "not gpu and not real and not vllm"
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo check test services overlays test-part test-real test-vllm format constraints clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup:  ## make .venv with the pinned dependencies
	@bash scripts/setup.sh

demo: setup  ## watch facts change in a running model, from Kafka to the answer
	@$(BIN)/upkeep demo $(ARGS)

check: setup  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## everything that must hold (installs PostgreSQL where it may)
	@$(MAKE) --no-print-directory -j 3 check services overlays
	$(PYTEST)
	@OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE bash scripts/test-transformers4.sh

services:
	@bash scripts/system-packages.sh

overlays: setup
	@bash scripts/test-transformers4.sh --install

test-part: setup  ## some of it, without the checks: make test-part TESTS=tests/unit
	$(PYTEST) $(TESTS)

test-real: setup  ## the same on a real chat model, which it fetches; not part of `make test`
	@OMP_WAIT_POLICY=PASSIVE bash scripts/test-real.sh

test-vllm: setup  ## the gateway in front of the real vLLM (1.9 GB) and a real chat model; not part of `make test`
	@bash scripts/test-vllm.sh

format: setup  ## let ruff repair what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

constraints: setup  ## write constraints.txt from what is installed now
	$(BIN)/python scripts/constraints.py > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean:  ## remove what the other commands made
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
