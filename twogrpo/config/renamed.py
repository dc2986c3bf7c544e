"""Configuration keys of earlier versions: the new name of each, or why it is gone.

Old run records keep their old names; twogrpo/run_record reads them through this table.
"""

# Old key -> new key.
RENAMED = {
    "training.prompts_per_generation": "training.prompts_per_step",
}
# Old key -> what to do instead, for a key that has no successor.
_NO_BONUS = "a reward grades the answer alone"
REMOVED = {"reward.format_weight": _NO_BONUS, "reward.format_pattern": _NO_BONUS}


def explain(key: str) -> str | None:
    """One line about a renamed or removed key; None for any other."""
    if key in RENAMED:
        return f"{key} was renamed to {RENAMED[key]}: use the new name"
    if key in REMOVED:
        return f"{key} was removed: {REMOVED[key]}"
    return None
