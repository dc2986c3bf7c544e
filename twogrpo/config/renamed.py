"""Configuration keys of earlier versions: the new name of each, or why it is gone.

Old run records keep their old names; twogrpo/run_record/files.py reads them through this table.
"""

from __future__ import annotations

# Old key -> new key.
RENAMED = {
    "training.prompts_per_generation": "training.prompts_per_step",
    "training.checkpoint_every": "checkpointing.every",
    "training.checkpoints_kept": "checkpointing.kept",
    "training.preemption_grace_seconds": "checkpointing.preemption_grace_seconds",
    "rollout.canary_prompts": "sync_check.prompts",
    "rollout.canary_tokens": "sync_check.tokens",
    "rollout.canary_bounds": "sync_check.bounds",
    "rollout.canary_bounds.float32": "sync_check.bounds.float32",
    "rollout.canary_bounds.bfloat16": "sync_check.bounds.bfloat16",
    "rollout.canary_kl_bounds": "sync_check.kl_bounds",
    "rollout.canary_kl_bounds.float32": "sync_check.kl_bounds.float32",
    "rollout.canary_kl_bounds.bfloat16": "sync_check.kl_bounds.bfloat16",
    "device": "planned_device",  # scripts/preflight.py
    "work": "workload",  # scripts/benchmark.py
}
_NO_BONUS = "a reward grades the answer alone"
_NO_LENGTHS = "it changed memory by a few percent only"
_NO_TIME_MODEL = "the time model is gone, hours come from calibration=FILE"
# Old key -> what to do instead, for a key that has no successor.
REMOVED = {
    "hardware.cpu_offload": "use more GPUs or hardware.activation_checkpointing=true",
    "reward.format_weight": _NO_BONUS,
    "reward.format_pattern": _NO_BONUS,
    "price_per_gpu_hour": "multiply the hours yourself",
    "mean_prompt_tokens": _NO_LENGTHS,
    "mean_response_tokens": _NO_LENGTHS,
    "check": _NO_TIME_MODEL,
    "published": _NO_TIME_MODEL,
    "measured": _NO_TIME_MODEL,
    "probe": "train a step with tracking.save_rollouts=true and give the run's folder to "
    "scripts/preflight.py as success_rates=FOLDER",
    "probe_prompts": "it went with probe",
    "probe_samples": "it went with probe",
    "results_dir": "scripts/benchmark.py writes no results by itself",
    "sweep": "python scripts/benchmark.py -m KEY=A,B,… json=true prints one line each",
}


def explain(key: str) -> str | None:
    """One line about a renamed or removed key (or a key below one); None for any other."""
    for name in (key, key.partition(".")[0]):
        if name in RENAMED:
            return f"{name} was renamed to {RENAMED[name]}: use the new name"
        if name in REMOVED:
            return f"{name} was removed: {REMOVED[name]}"
    return None
