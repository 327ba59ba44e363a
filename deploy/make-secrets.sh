#!/usr/bin/env bash
# Make deploy/secrets/ for compose.yaml: random passwords, each in a file of its own. What is there already stays.
set -euo pipefail
cd "$(dirname "$0")"

mkdir -p secrets
chmod 700 secrets # the files are mounted as they are and read by other users inside: this folder guards them outside
umask 022

make() { # NAME TEXT
  [ -e "secrets/$1" ] || printf '%s' "$2" > "secrets/$1"
}

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

make postgres_password "$(random)"
make ledger_url "postgresql://upkeep:$(cat secrets/postgres_password)@postgres/upkeep"
make grafana_password "$(random)"
make engine_api_key "$(random)"
make hf_token "${HF_TOKEN:-}" # empty: models that need no login
echo "secrets in $PWD/secrets; Grafana's user is admin"
