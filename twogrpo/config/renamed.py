"""Configuration keys of earlier versions: the new name of each, or why it is gone.

Old run records keep their old names; twogrpo/run_record reads them through this table.
"""

# Old key -> new key.
RENAMED = {
    "training.prompts_per_generation": "training.prompts_per_step",
}
# Old key -> what to do instead, for a key that has no successor.
REMOVED: dict[str, str] = {}
