#!/usr/bin/env bash
# Install what the tests meet for real, PostgreSQL, Prometheus with Alertmanager and Chromium, where that is possible;
# where it is not, their tests skip and say why (in CI they fail).
set -uo pipefail

have_postgres() {
    [ -n "${UPKEEP_TEST_POSTGRES_URL:-}" ] || command -v postgres >/dev/null ||
        compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null
}

have_prometheus() {
    command -v prometheus >/dev/null && command -v promtool >/dev/null && command -v amtool >/dev/null &&
        { command -v alertmanager >/dev/null || command -v prometheus-alertmanager >/dev/null; }
}

have_chromium() {
    [ -n "${UPKEEP_TEST_CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
        command -v google-chrome >/dev/null
}

missing=()
have_postgres || missing+=(postgresql)
have_prometheus || missing+=(prometheus prometheus-alertmanager)
have_chromium || missing+=(chromium)
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    echo "system-packages: not here: ${missing[*]}; their tests will be skipped (Debian: apt-get install ${missing[*]})" >&2
    exit 0
fi

echo "system-packages: installing ${missing[*]} for the tests" >&2
# The tests start servers of their own; without this file the packages would start others.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=1
fi
timeout 120 apt-get update -qq >/dev/null 2>&1
for packages in postgresql "prometheus prometheus-alertmanager" chromium; do
    case " ${missing[*]} " in
        *" ${packages%% *} "*)
            # shellcheck disable=SC2086  -- several words are several packages
            DEBIAN_FRONTEND=noninteractive timeout 300 \
                apt-get install -y -qq --no-install-recommends $packages >/dev/null 2>&1
            ;;
    esac
done
[ -n "$made_policy" ] && rm -f "$policy"
have_postgres || echo "system-packages: PostgreSQL could not be installed, its tests will be skipped" >&2
have_prometheus || echo "system-packages: Prometheus could not be installed, its tests will be skipped" >&2
have_chromium || echo "system-packages: Chromium could not be installed, its tests will be skipped" >&2
exit 0
