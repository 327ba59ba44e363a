#!/usr/bin/env bash
# The editors' contract on transformers 4.5x: laid over the environment, which has 5.x, in folders of their own.
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
    PYTHONPATH=$folder "$python" -m pytest -n 2 -m 'not gpu' tests/unit/editors/test_checkpoint.py tests/unit/editors/test_chat.py tests/unit/editors/test_editor_contract.py "$@"
}

contract 4.57 -k 'not every_other_family'
contract 4.51 -k 'llama or test_chat'
