#!/usr/bin/env bash
# The editors' contract on transformers 4.5x: laid over the environment, which has 5.x, in folders of their own.
# With --install they are made and nothing is tested.
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python

# overlay VERSION: install scripts/transformers-VERSION.txt aside and print where; pip runs only when the file changed.
overlay() {
    local pins=scripts/transformers-$1.txt folder=$PWD/.venv/transformers-$1
    if ! cmp -s "$pins" "$folder/pins.txt"; then
        rm -rf "$folder"
        "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder" -r "$pins" >&2 || return
        cp "$pins" "$folder/pins.txt"
    fi
    printf '%s\n' "$folder"
}

# contract VERSION PYTEST_ARGUMENTS...
contract() {
    local version=$1 folder
    shift
    if ! folder=$(overlay "$version"); then
        echo "test-transformers4: transformers $version cannot be installed, its tests do not run" >&2
        [ -z "${CI:-}" ]
        return
    fi
    PYTHONPATH=$folder "$python" -c "import transformers as t; assert t.__version__.startswith('$version.'), t"
    echo "test-transformers4: the editors' contract on transformers $version" >&2
    PYTHONPATH=$folder "$python" -m pytest -m 'not gpu and not real' tests/unit/base/test_checkpoint.py tests/unit/base/test_chat.py tests/unit/editors/test_editor_contract.py "$@"
}

if [ "${1:-}" = --install ]; then
    overlay 4.57 >/dev/null && overlay 4.51 >/dev/null || true # whether they are there is said when they are tested
    exit 0
fi

# Side by side, the short one in a process of its own; its output comes when it is done.
short=$(mktemp)
trap 'rm -f "$short"' EXIT
contract 4.51 -k 'llama or test_chat' >"$short" 2>&1 &
first=$!
contract 4.57 -n 2 -k 'not every_other_family' &
status=0
wait $! || status=$?
wait "$first" || status=$?
cat "$short"
exit "$status"
