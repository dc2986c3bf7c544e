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
compile() {  # FILE OPTIONS…
    lock=$1; shift
    $python -m piptools compile --quiet --generate-hashes --unsafe-package torch --strip-extras \
        --no-emit-options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
        "$@" --output-file "$lock" pyproject.toml 2>.cache/lock/messages || { cat .cache/lock/messages; exit 1; }
    sed -i '/^# WARNING: The following/,$d' "$lock"  # it warns that PyTorch is not in it
}
compile requirements/build.lock --only-build-deps --build-deps-for wheel
compile requirements/all.lock --extra dev
