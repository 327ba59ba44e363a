#!/usr/bin/env bash
# Ask the tools that are here whether the deployment files are right; the rules of our own are tests/unit/process/test_deploy*.py.
set -euo pipefail
cd "$(dirname "$0")/.."

have() { command -v "$1" > /dev/null || { echo "$1: not here, left out"; return 1; }; }

compose=(docker compose)
docker compose version > /dev/null 2>&1 || compose=(docker-compose)
if have "${compose[0]}"; then
  secrets=$([ -e deploy/secrets ] && echo there || echo made)
  bash deploy/make-secrets.sh > /dev/null
  for file in deploy/env.example deploy/env.vllm.example; do
    "${compose[@]}" --project-directory . --env-file "$file" -f compose.yaml -f deploy/compose.gpu.yaml config -q
    echo "compose.yaml with $file: accepted"
  done
  [ "$secrets" = there ] || rm -r deploy/secrets
fi
if have kubectl; then
  for folder in deploy/kubernetes/*/; do
    kubectl kustomize "$folder" > /dev/null
    echo "$folder: builds"
    if have kubeconform; then kubectl kustomize "$folder" | kubeconform -strict -summary; fi
    if have kubernetes-validate; then # pip install kubernetes-validate: the API's schemas, without a network
      built=$(mktemp --suffix .yaml)
      kubectl kustomize "$folder" > "$built"
      kubernetes-validate --strict --quiet "$built"
      rm "$built"
    fi
  done
fi
if have promtool; then
  for file in monitoring/prometheus/prometheus*.yml; do promtool check config "$file"; done
fi
