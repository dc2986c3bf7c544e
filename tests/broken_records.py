"""Ways in which a run's record breaks; each is refused in one line that names the file."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

RUN, METRICS = "run.json", "metrics.jsonl"


def content(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Changes the bytes of one of the files."""
    return lambda folder: (folder / file).write_bytes(change((folder / file).read_bytes())) and None


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    """Changes the lines of the rows."""
    return content(METRICS, lambda old: b"".join(change(old.splitlines(keepends=True))))


def first_row(new: bytes) -> Callable[[Path], None]:
    """Replaces the first row."""
    return lines(lambda old: [new + b"\n", *old[1:]])


def value(key: str, new: object) -> Callable[[Path], None]:
    """Sets a value of run.json; None takes it away."""

    def change(old: bytes) -> bytes:
        about = json.loads(old)
        *sections, name = key.split(".")
        place = about
        for section in sections:
            place = place[section]
        place[name] = new
        if new is None:
            del place[name]
        return json.dumps(about).encode()

    return content(RUN, change)


def folder_instead(file: str) -> Callable[[Path], None]:
    """A folder in the place of the file."""

    def change(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return change


def fifo_instead(file: str) -> Callable[[Path], None]:
    """A FIFO in the place of the file: a reader would wait for ever."""

    def change(folder: Path) -> None:
        (folder / file).unlink()
        os.mkfifo(folder / file)

    return change


BINARY = bytes(range(256)) * 4 + b"\n"
DEEP = b'{"a":' + b"[" * 100_000 + b"\n"
BROKEN: dict[str, tuple[str, Callable[[Path], None]]] = {
    "half of run.json": (RUN, content(RUN, lambda old: old[: len(old) // 2])),
    "run.json is binary": (RUN, content(RUN, lambda _: BINARY)),
    "run.json is empty": (RUN, content(RUN, lambda _: b"")),
    "run.json is {}": (RUN, content(RUN, lambda _: b"{}")),
    "run.json is null": (RUN, content(RUN, lambda _: b"null")),
    "run.json is a list": (RUN, content(RUN, lambda _: b"[]")),
    "run.json is a number": (RUN, content(RUN, lambda _: b"1")),
    "run.json is nested deeply": (RUN, content(RUN, lambda _: DEEP)),
    "run.json has a BOM": (RUN, content(RUN, lambda old: b"\xef\xbb\xbf" + old)),
    "run.json is a folder": (RUN, folder_instead(RUN)),
    "no config": (RUN, value("config", None)),
    "config is a list": (RUN, value("config", [])),
    "config.model is a text": (RUN, value("config.model", "tiny")),
    "no identity": (RUN, value("identity", None)),
    "no code": (RUN, value("code", None)),
    "no status": (RUN, value("status", None)),
    "seed is a text": (RUN, value("config.seed", "0")),
    "group size is true": (RUN, value("config.algorithm.group_size", True)),
    "inputs is a list": (RUN, value("inputs", [])),
    "inputs without a hash": (RUN, value("inputs", {"model.path": {"config.json": {}}})),
    "rows are binary": (METRICS, content(METRICS, lambda _: BINARY)),
    "rows are a folder": (METRICS, folder_instead(METRICS)),
    "run.json is a FIFO": (RUN, fifo_instead(RUN)),
    "rows are a FIFO": (METRICS, fifo_instead(METRICS)),
    "a row torn in the middle": (METRICS, lines(lambda old: [old[0][:9] + b"\n", *old[1:]])),
    "half a row before another": (METRICS, lines(lambda old: [old[0][:-9], *old[1:]])),
    "a blank line": (METRICS, lines(lambda old: [old[0], b"\n", *old[1:]])),
    "rows with a BOM": (METRICS, lines(lambda old: [b"\xef\xbb\xbf", *old])),
    "a row is a list": (METRICS, first_row(b"[0]")),
    "no step": (METRICS, lines(lambda old: [old[0].replace(b"step", b"stop", 1), *old[1:]])),
    "step is a text": (METRICS, first_row(b'{"step": "0"}')),
    "the first row is missing": (METRICS, lines(lambda old: old[1:])),
    "a row is missing": (METRICS, lines(lambda old: [old[0], *old[2:]])),
    "a row is there twice": (METRICS, lines(lambda old: [old[0], *old])),
    "rows in another order": (METRICS, lines(lambda old: [old[1], old[0], *old[2:]])),
    "seconds as a text": (METRICS, first_row(b'{"step": 0, "seconds/a": "1"}')),
    "negative seconds": (METRICS, first_row(b'{"step": 0, "seconds/a": -1}')),
    "infinite tokens": (METRICS, first_row(b'{"step": 0, "tokens/a": Infinity}')),
}


def broken(name: str, whole: Path, folder: Path) -> str:
    """Copies a run's folder and breaks the copy; returns the name of the file."""
    shutil.copytree(whole, folder)
    file, change = BROKEN[name]
    change(folder)
    return file
