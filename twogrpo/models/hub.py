"""The Hugging Face hub: a repository's files at a revision, in the local cache."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from twogrpo.errors import ConfigError

# Weights come from safetensors only, never from a pickle.
FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "tokenizer.model"]


def snapshot(hub_id: str, revision: str | None, *, key: str = "model.path") -> Path:
    """The model's folder in the cache, downloaded if it is not there; `key` named it.

    Raises:
        ConfigError: there is no such repository or revision, or the hub cannot be reached.
    """
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"{key}={hub_id} is no folder here and cannot be downloaded from the hub at "
            f"model.revision={revision} ({type(error).__name__}): give a folder, or a hub id that "
            "can be reached and a revision of it"
        ) from error
