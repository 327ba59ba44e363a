#!/usr/bin/env bash
# Fetch a real chat model (93 MB, once) and run what must hold on it: the editors' contract, tests/real, then a
# short evaluation. Half an hour to an hour on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${UPKEEP_REAL_CACHE:-.real}
bash scripts/real_base.sh "$cache"
export UPKEEP_REAL_BASE=$cache/base
.venv/bin/pytest -m real tests/unit/editors/test_editor_contract.py tests/real
facts=${UPKEEP_REAL_FACTS:-${UPKEEP_TEST_DATA:-../shared/data}/halluedit.jsonl}
if [ -e "$facts" ]; then
    for form in plain chat; do
        .venv/bin/upkeep evaluate --model "$cache/base" --facts "$facts" --edits 20 --batch-size 20 --editor scen \
            --form "$form" --max-new-tokens 24 --baseline in-context --json "$cache/$form.json" >/dev/null
        echo "test-real: $form: $cache/$form.json"
        cat "$cache/$form.json"
    done
else
    echo "test-real: no facts at $facts (docs/datasets.md; UPKEEP_REAL_FACTS names the file), so no evaluation"
fi
