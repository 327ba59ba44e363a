#!/usr/bin/env bash
# Install PostgreSQL for the tests where that is possible; where it is not, its tests skip and say why.
set -uo pipefail

have_postgres() {
    command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null
}

if have_postgres || [ -n "${UPKEEP_TEST_POSTGRES_URL:-}" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "system-packages: no PostgreSQL here, its tests will be skipped (Debian: apt-get install postgresql)" >&2
    exit 0
fi

echo "system-packages: installing PostgreSQL for the tests" >&2
# The tests start a server of their own; without this file the package would start another one.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=1
fi
{
    timeout 120 apt-get update -qq
    DEBIAN_FRONTEND=noninteractive timeout 300 apt-get install -y -qq --no-install-recommends postgresql
} >/dev/null 2>&1
[ -n "$made_policy" ] && rm -f "$policy"
have_postgres || echo "system-packages: PostgreSQL could not be installed, its tests will be skipped" >&2
exit 0
