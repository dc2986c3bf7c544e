"""Problems from files and from the hub, converted from any known column layout to one schema.

Every row becomes a `Problem`. Known layouts: a plain question and answer (`problem` or `question`
with `answer`), MATH (the answer is the last box of the `solution`), GSM8K (the answer follows
`####`), verl's (`prompt` as messages, `reward_model.ground_truth`), with or without `images`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twogrpo.config.schema import HubConfig
from twogrpo.errors import ConfigError

Row = Mapping[str, Any]
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")

# DAPO-Math-17k's original release wraps every problem in this prompt.
_DAPO_WRAPPER = re.compile(
    r"^Solve the following math problem step by step\..*?\n\n(.*?)\n\n"
    r"Remember to put your answer on its own line after \"Answer:\"\.?$",
    re.DOTALL,
)


@dataclass(frozen=True)
class Problem:
    """A question with its reference answer; `images` are the bytes of encoded images."""

    problem_id: str
    text: str
    answer: str
    images: tuple[bytes, ...] = ()


def from_path(path: Path) -> Iterator[Row]:
    """The rows of a JSONL, JSONL.gz or parquet file.

    Raises:
        ConfigError: the file is missing, or a line (named in the message) cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"{path} is not a file: give one that ends in {', '.join(SUFFIXES)}")
    if not path.name.endswith(SUFFIXES):
        raise ConfigError(f"{path} has an unknown file type: use one of {', '.join(SUFFIXES)}")
    return _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)


def from_hub(hub: HubConfig) -> Iterator[Row]:
    """The rows of a split on the hub at the pinned revision, images as encoded bytes.

    Raises:
        ConfigError: the hub cannot be reached or has no such data set.
    """
    import datasets  # heavy, and only needed here

    try:
        rows = datasets.load_dataset(hub.id, hub.config, split=hub.split, revision=hub.revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ConfigError(
            f"the data set {hub.id} cannot be downloaded from the hub ({type(error).__name__}): "
            "run once with network access, or give a local copy with path=…"
        ) from error
    for name, feature in rows.features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, datasets.Image):  # stays bytes until a processor needs it
            plain = datasets.Image(decode=False)
            rows = rows.cast_column(name, plain if inner is feature else datasets.List(plain))
    return iter(rows)


def to_problem(row: Row) -> Problem:
    """Converts one row; a row without an id gets a hash of its content.

    Raises:
        ValueError: no known layout has these columns, or a value is not text.
    """
    text = _text(_question(row))
    answer = _text(_answer(row))
    images = tuple(_image_bytes(image) for image in row.get("images") or ())
    name = row.get("id", row.get("unique_id", row.get("problem_id")))
    problem_id = content_id(text, images) if name is None else _encodable(str(name))
    return Problem(problem_id, text, answer, images)


def content_id(text: str, images: Iterable[bytes] = ()) -> str:
    """An id independent of a problem's origin: a hash of its text without white space.

    >>> content_id("What is $1 + 1$?") == content_id("What is $1+1$? ")
    True
    """
    digest = hashlib.sha256("".join(text.split()).encode())
    for image in images:
        digest.update(hashlib.sha256(image).digest())
    return digest.hexdigest()[:12]


def last_box(solution: str) -> str:
    r"""The content of a solution's last `\boxed{…}`, braces balanced; empty if there is none.

    >>> last_box(r"so \boxed{1} and then \boxed{\frac{1}{2}}.")
    '\\frac{1}{2}'
    """
    start = max(solution.rfind("\\boxed{"), solution.rfind("\\fbox{"))
    if start < 0:
        return ""
    first = solution.index("{", start) + 1
    depth = 1
    for place in range(first, len(solution)):
        depth += {"{": 1, "}": -1}.get(solution[place], 0)
        if depth == 0:
            return solution[first:place].strip()
    return ""


def _question(row: Row) -> Any:
    for key in ("problem", "question"):
        if key in row:
            return row[key]
    if "prompt" in row:
        messages = row["prompt"]
        if isinstance(messages, str):
            return messages
        # The template provides the system message; the question is the last user message.
        text = [m["content"] for m in messages if m["role"] == "user"][-1]
        wrapped = _DAPO_WRAPPER.match(text.strip())
        return wrapped[1] if wrapped else text
    raise ValueError(f"no question among the columns {', '.join(map(str, row))}")


def _answer(row: Row) -> Any:
    if "answer" in row:
        answer = row["answer"]
        if isinstance(answer, str) and "\n####" in answer:  # GSM8K: the solution precedes
            return answer.rpartition("####")[2].replace(",", "")
        return answer
    if "final_answer" in row:  # OlympiadBench
        return ", ".join(row["final_answer"])
    if "reward_model" in row:
        return row["reward_model"]["ground_truth"]
    if "solution" in row:
        boxed = last_box(row["solution"])
        return boxed if boxed or "\\boxed" in row["solution"] else row["solution"]
    raise ValueError(f"no answer among the columns {', '.join(map(str, row))}")


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # AMC on the hub: 27.0
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {type(value).__name__}")
    return _encodable(value).strip()


def _encodable(text: str) -> str:
    """Raises UnicodeEncodeError (a ValueError): JSON can encode half a surrogate pair."""
    text.encode()
    return text


def _image_bytes(image: Any) -> bytes:
    content = image.get("bytes") if isinstance(image, Mapping) else image
    if not isinstance(content, bytes):
        raise ValueError("expected an image as the bytes of a PNG or JPEG file")
    return content


def _json_rows(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        # Bytes are split on "\n" only: a problem may contain other Unicode line separators.
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
                if not isinstance(row, dict):
                    raise ValueError(f"it is a {type(row).__name__}")
            except (ValueError, RecursionError) as error:
                raise ConfigError(
                    f"{path} line {number} is not a JSON object in UTF-8 ({error}): "
                    "repair or delete the line"
                ) from error
            yield row


def _parquet_rows(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=256):
            yield from batch.to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(
            f"{path} is not a readable parquet file ({error}): write it again"
        ) from error
