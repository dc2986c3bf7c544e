"""Problems from files and from the hub, converted from any known column layout to one schema.

Every row becomes a `Problem`. Known layouts: a plain question and answer (`problem` or `question`
with `answer`), MATH and NuminaMath (the answer is the last box of the `solution`), GSM8K (the
answer follows `####`), OlympiadBench and DeepMath (`final_answer`, a list or a text), verl's
(`prompt` as messages, `reward_model.ground_truth`), with or without `images`.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from twogrpo.config.schema import HubConfig
from twogrpo.core.boxes import boxes
from twogrpo.data.files import SUFFIXES
from twogrpo.data.templates import PICTURE
from twogrpo.errors import ConfigError

Row = Mapping[str, Any]
# Longer than any real answer; a program's test cases count as its answer.
MAX_ANSWER_CHARACTERS = 10_000_000
# What stands in the place of an answer: NuminaMath-1.5's first two, and missing values as text.
NO_ANSWERS = {"proof", "notfound", "nan", "null", "n/a"}
SYSTEM_ROLES = ("system", "developer")

# DAPO-Math-17k's original release wraps every problem in this prompt.
_DAPO_WRAPPER = re.compile(
    r"^Solve the following math problem step by step\..*?\n\n(.*?)\n\n"
    r"Remember to put your answer on its own line after \"Answer:\"\.?$",
    re.DOTALL,
)
# Two letters or more; Chinese is written without blanks, about two characters a word.
_WORD = re.compile(r"[\u3400-\u9fff]{2}|[^\W\d_]{2,}")
_FORMULA = re.compile(r"\$[^$]*\$|\\[A-Za-z]+(?:\{[^{}]*\})?")


@dataclass(frozen=True)
class Problem:
    """A question with its reference answer; `images` are the bytes of encoded images.

    `defect` says why it can neither be trained on nor evaluated, such as "no_answer".
    """

    problem_id: str
    text: str
    answer: str
    images: tuple[bytes, ...] = ()
    defect: str | None = None


def from_path(path: Path, *, origin: str) -> Iterator[Row]:
    """The rows of a JSONL, JSONL.gz or parquet file; `origin` names it, and its key, in messages.

    Raises:
        ConfigError: the file is missing or damaged, or a line (named in the message) is.
    """
    try:
        path.stat()
        why = "" if path.is_file() else " (it is no regular file)"
    except (OSError, ValueError) as error:  # ValueError: the name has a NUL character
        why = f" ({getattr(error, 'strerror', error)})"
    if why:
        raise ConfigError(f"{origin} is not a file{why}: give one of {', '.join(SUFFIXES)}")
    if not path.name.endswith(SUFFIXES):
        raise ConfigError(f"{origin} has an unknown file type: use one of {', '.join(SUFFIXES)}")
    return (_parquet_rows if path.suffix == ".parquet" else _json_rows)(path, origin)


def from_hub(hub: HubConfig, *, origin: str, remedy: str) -> Iterator[Row]:
    """The rows of a split on the hub at the pinned revision, images as encoded bytes.

    Raises:
        ConfigError: the hub cannot be reached or has no such data set.
    """
    import datasets  # heavy, and only needed here

    try:
        rows = datasets.load_dataset(hub.id, hub.config, split=hub.split, revision=hub.revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ConfigError(
            f"{origin} cannot be downloaded from the hub ({type(error).__name__}): "
            f"run once with network access, or give a local copy with {remedy}"
        ) from error
    for name, feature in rows.features.items():
        inner = getattr(feature, "feature", feature)
        if isinstance(inner, datasets.Image):  # stays bytes until a processor needs it
            plain = datasets.Image(decode=False)
            rows = rows.cast_column(name, plain if inner is feature else datasets.List(plain))
    return iter(rows)


def to_problem(row: Row) -> Problem:
    """Converts one row; one without an id gets a hash of its content.

    The defects: `no_question`; `several_turns` (a conversation, which no template can render);
    `no_answer` (none, one of `NO_ANSWERS`, or prose, such as a `solution` without a box);
    `broken_picture` (no encoded image where there should be one).
    """
    row = {str(key).lower(): value for key, value in row.items()} | dict(row)
    text, defect = _question(row)
    answer = _answer(row)
    if not answer or len(answer) > MAX_ANSWER_CHARACTERS:
        defect = defect or "no_answer"
    images = _images(row)
    if images is None or (PICTURE in text and not images and {"images", "image"} & row.keys()):
        defect = defect or "broken_picture"
    names = (row.get(key) for key in ("id", "unique_id", "problem_id"))
    name = next((name for name in names if name is not None), content_id(text, images or ()))
    # JSON can spell half a surrogate pair, which no file can hold.
    name = str(name).encode(errors="backslashreplace").decode()
    return Problem(name, text, answer, images or (), defect)


def has_system_message(row: Row) -> bool:
    """Whether the prompt has a system message, which the prompt template replaces by its own."""
    return any(message["role"] in SYSTEM_ROLES for message in _messages(row.get("prompt")))


def content_id(text: str, images: Iterable[bytes] = ()) -> str:
    """An id independent of a problem's origin: a hash of its text without white space.

    >>> content_id("What is $1 + 1$?") == content_id("What is $1+1$? ")
    True
    """
    digest = hashlib.sha256("".join(text.split()).encode())
    for image in images:
        digest.update(hashlib.sha256(image).digest())
    return digest.hexdigest()[:12]


def _question(row: Row) -> tuple[str, str | None]:
    """The question, and what is wrong with it."""
    prompt = row.get("prompt")
    asked = [message for message in _messages(prompt) if message["role"] not in SYSTEM_ROLES]
    if text := _string(row.get("problem")) or _string(row.get("question")):
        return text, None
    if len(asked) > 1:
        return "", "several_turns"
    if asked:
        prompt = _content(asked[0].get("content")) if asked[0]["role"] == "user" else None
    text = _string(prompt)
    wrapped = _DAPO_WRAPPER.match(text)
    text = wrapped[1].strip() if wrapped else text
    return text, None if text else "no_question"


def _messages(prompt: Any) -> list[Row]:
    """The messages of a prompt in verl's layout; none of a text."""
    messages = prompt if isinstance(prompt, list | tuple) else ()
    return [m for m in messages if isinstance(m, Mapping) and m.get("role")]


def _content(content: Any) -> Any:
    """A message's content, whose parts are joined; None if one is neither text nor an image."""
    if not isinstance(content, list | tuple):
        return content
    parts = [part if isinstance(part, Mapping) else {} for part in content]
    texts = [PICTURE if part.get("type") == "image" else part.get("text") for part in parts]
    found = [text for text in texts if isinstance(text, str)]
    return "".join(found) if len(found) == len(parts) else None


def _answer(row: Row) -> str:
    """The reference answer; empty if there is none that can be trusted."""
    given = [(row[key], key == "final_answer") for key in ("answer", "final_answer") if key in row]
    if isinstance(row.get("reward_model"), Mapping):
        given.append((row["reward_model"].get("ground_truth"), False))
    for value, is_list_joined in given:
        if value is not None:
            return _reference(value, is_list_joined=is_list_joined)
    solution = row.get("solution")
    text = "\n".join(map(_string, solution if isinstance(solution, list) else [solution]))
    if found := boxes(text):
        return _unless_sentinel(found[-1][2])
    return "" if given or "\n" in text or _is_prose(text) else _unless_sentinel(text)


def _reference(value: Any, *, is_list_joined: bool) -> str:
    """An answer as text; empty if it is none. Several values are one answer if `is_list_joined`."""
    if isinstance(value, list | tuple):
        parts = [_reference(part, is_list_joined=False) for part in value]
        return ", ".join(parts) if all(parts) and (is_list_joined or len(parts) == 1) else ""
    if isinstance(value, float | Decimal) and not math.isfinite(value):
        return ""
    if isinstance(value, float):
        # AMC on the hub: 27.0. Beyond 2^53 the digits of an integer are not those of the source.
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, Decimal):
        digits = f"{value:f}"
        return re.sub(r"\.?0*$", "", digits) if "." in digits else digits
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    text = _string(value)
    if text.startswith("[") and (listed := _json_list(text)):
        return _reference(listed, is_list_joined=is_list_joined)
    if not text.startswith("{"):  # an object holds a program's tests
        if len(found := boxes(text)) == 1:
            text = found[0][2]
        elif stated := re.search(r"^####(.*)\Z", text, re.MULTILINE):  # GSM8K's, after a solution
            text = re.sub(r"(?<=\d),(?=\d{3})", "", stated[1])
        elif _is_prose(text, most=2 if "\n" in text else 3 if text[-1:] in (".", "。") else 12):
            return ""
    return _unless_sentinel(text)


def _is_prose(text: str, most: int = 2) -> bool:
    """Whether it has more than so many words outside formulas: a proof, a solution.

    Of 31,590 published answers one has 12 (OlympiadBench), and none has more.
    """
    return len(_WORD.findall(_FORMULA.sub(" ", text))) > most


def _json_list(text: str) -> list[Any] | None:
    """The values of a JSON list of texts, or of one number; not of several: an interval."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_number = len(values) == 1 and isinstance(values[0], int | float)
    return values if is_number or all(isinstance(value, str) for value in values) else None


def _unless_sentinel(answer: str) -> str:
    bare = re.sub(r"\\text\w*|[\s${}().]", "", answer[:50]).lower()
    return "" if bare in NO_ANSWERS and len(answer) < 50 else answer.strip()


def _string(value: Any) -> str:
    """A text, stripped; empty if it is none, or has half a surrogate pair (JSON can spell it)."""
    try:
        text = value.decode() if isinstance(value, bytes) else value
        return text.encode().decode().strip() if isinstance(text, str) else ""
    except UnicodeError:
        return ""


def _images(row: Row) -> tuple[bytes, ...] | None:
    """The encoded images; None if one is missing."""
    given = row.get("images") or row.get("image") or []
    given = given if isinstance(given, list | tuple) else [given]
    images = [image.get("bytes") if isinstance(image, Mapping) else image for image in given]
    found = tuple(image for image in images if isinstance(image, bytes))
    return found if len(found) == len(images) else None


def _json_rows(path: Path, origin: str) -> Iterator[Row]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            # Bytes are split on "\n" only: a problem may contain other Unicode line separators.
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _json_row(line, f"{origin} line {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(origin, f"after line {number}: {error}") from error


def _json_row(line: bytes, where: str) -> Row:
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_with_each_key_once)
        if not isinstance(row, dict):
            raise ValueError(f"it is a {type(row).__name__}")
        return row
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{where} is not a JSON object in UTF-8 ({error}): repair or delete the line"
        ) from error


def _with_each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(row := dict(pairs)) < len(pairs):
        raise ValueError("it has a key twice")
    return row


def _parquet_rows(path: Path, origin: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=256):
            yield from batch.to_pylist()
    except (OSError, ValueError, OverflowError, pyarrow.ArrowException) as error:
        raise _damaged(origin, f"as parquet: {error}") from error


def _damaged(origin: str, why: str) -> ConfigError:
    reason = " ".join(why.split())
    return ConfigError(
        f"{origin} cannot be read ({reason}): give a file that is whole and may be read"
    )
