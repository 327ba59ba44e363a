#!/usr/bin/env bash
# Pin the images of the deployment files by digest, as the registry says now: name:tag -> name:tag@sha256:...
# `--check` changes nothing and fails where a pinned digest is not the one that the registry gives for its tag.
# Needs Docker with buildx and the registry; neither was there when Upkeep was developed (docs/first-hour.md says what follows).
set -euo pipefail
cd "$(dirname "$0")/.."

FILES=(Dockerfile compose.yaml deploy/kubernetes/*/*.yaml)
PATTERN='[a-z0-9./-]+:[A-Za-z0-9._-]+(@sha256:[0-9a-f]{64})?'

# Lines that name an image of somebody else: not ours (upkeep:...), no variable.
images() {
  grep -hoE "(image: |PYTHON_IMAGE=)\"?$PATTERN" "${FILES[@]}" | sed -E 's/^(image: |PYTHON_IMAGE=)"?//' | grep -v '^upkeep:' | sort -u
}

differ=0
for image in $(images); do
  tag=${image%@*}
  digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$tag")
  [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || { echo "$tag: the registry gave no digest" >&2; exit 1; }
  [ "$image" = "$tag@$digest" ] && continue
  differ=1
  echo "$image -> $tag@$digest"
  [ "${1:-}" = --check ] || sed -i -E "s#${image//./\\.}(@sha256:[0-9a-f]{64})?([^A-Za-z0-9._@-]|\$)#$tag@$digest\2#" "${FILES[@]}"
done
[ "${1:-}" != --check ] || [ "$differ" = 0 ]
