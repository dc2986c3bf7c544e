"""Calls between a program and its tests: the main.py of both their sandboxes.

The program serves calls; its process holds no tests, no expected values and no verdict. Values
cross as JSON and arrive as exactly None, bool, int, float, str, bytes, list, tuple, dict, set,
frozenset, deque or one of `_TEXTS`; those of a subclass as its base, a number of numpy as Python's.
Anything else stays in the program and is a `Remote` to its tests, which they can call, iterate and
look into. Tests that ask for its value, to compare it say, cannot be judged: they end there as
UNSUPPORTED. Arguments are copies: what a program does to them, its tests do not see.
"""

import builtins
import collections
import contextlib
import importlib
import json
import math
import os
import sys
from collections.abc import Callable
from types import CodeType
from typing import Any, NoReturn

WRONG, UNSUPPORTED, FAILED = 1, 2, 3
"""The exit codes of tests that do not pass; FAILED where the program ended or raised an error."""

OWN_NAMES = {
    name: (module or name, name if module else "")
    for module, names in {
        "typing": "Any Callable Dict Iterable Iterator List Optional Sequence Set Tuple Union",
        "collections": "Counter OrderedDict defaultdict deque",
        "functools": "cache cmp_to_key lru_cache",
        "heapq": "heapify heappop heappush",
        "math": "inf isclose nan",
        "": "bisect collections copy datetime functools heapq itertools json math operator random "
        "re string sys time",
    }.items()
    for name in names.split()
} | {"np": ("numpy", "")}
"""Standard names, each with its module, that need no import, as on LeetCode. Tests take them from
here, never from the program, whose own `isclose` would have a say in the verdict."""
_PROGRAM, _TESTS = "/code/program.py", "/code/tests.json"
_COLLECTIONS: dict[str, Any] = {
    kind.__name__: kind for kind in (tuple, set, frozenset, collections.deque)
}
# Types whose values cross as text, with their modules.
_TEXTS = {"complex": "builtins", "Fraction": "fractions", "Decimal": "decimal"}
_TEXTS |= {"date": "datetime", "datetime": "datetime"}


class Remote:
    """An object of the program, as its tests see it."""

    __slots__ = ("_remote_number",)

    def __init__(self, number: int) -> None:
        object.__setattr__(self, "_remote_number", number)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # numpy, for one, would take an address from such an attribute
            raise AttributeError(name)
        return _ask(self._remote_number, "get", name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: D102 it calls the object
        return _ask(self._remote_number, "call", args, kwargs)

    def __iter__(self) -> Any:
        return iter(_ask(self._remote_number, "list"))


def _asks(name: str) -> Callable[..., Any]:
    def ask(self: Remote, *args: Any) -> Any:
        try:
            method = _ask(self._remote_number, "get", name)
        except AttributeError as error:
            raise TypeError(str(error)) from error
        return method(*args)

    return ask


# What tests may ask of an object besides: each answer is a value like that of a call.
_ASKED = "len getitem setitem setattr str repr format"
# What would be the program's word on the verdict, or needs its class itself.
_REFUSED = (
    "bool eq ne lt le gt ge hash int float complex index abs neg round add radd sub rsub mul rmul "
    "truediv rtruediv floordiv rfloordiv mod rmod pow rpow and rand or ror xor rxor "
    "enter exit next delitem instancecheck subclasscheck mro_entries"
)
for _name in _ASKED.split():
    setattr(Remote, f"__{_name}__", _asks(f"__{_name}__"))
for _name in _REFUSED.split():
    setattr(Remote, f"__{_name}__", lambda *_: os._exit(UNSUPPORTED))


def same(found: Any, expected: Any) -> bool:
    """Whether two values of JSON are the same, with their types; a float need be within 1e-6."""
    if type(expected) is float and type(found) in (int, float):
        return math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6)
    if type(found) is not type(expected):
        return False
    if type(found) is list:
        return len(found) == len(expected) and all(map(same, found, expected))
    if type(found) is dict:
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    return bool(found == expected)


def _judge() -> NoReturn:
    """Runs the tests on the program at the other end; the exit code is 0 if they pass."""
    with open(_TESTS, encoding="utf-8") as stream:
        tests = json.load(stream)
    code = compile(tests["code"], "tests.py", "exec", dont_inherit=True)
    sys.modules["calls"] = sys.modules["__main__"]
    module = sys.modules["__main__"] = type(sys)("__main__")  # unittest.main() looks there
    namespace = vars(module)
    try:
        for name in tests["names"]:
            with contextlib.suppress(AttributeError):  # a NameError once the tests use it
                namespace[name] = _ask(0, "get", name)
        _import_own_names(code, namespace)
        exec(code, namespace)
    except SystemExit as end:  # no answer of the program raises it
        os._exit(WRONG if end.code else 0)
    except AssertionError:
        os._exit(WRONG)
    except BaseException as error:  # noqa: BLE001 whatever it is, the tests did not reach their end
        # `except` with an exception of the program's own, which is no class here
        is_ours = type(error) is TypeError and "do not inherit from BaseException" in str(error)
        os._exit(UNSUPPORTED if is_ours else FAILED)
    os._exit(0)


def _serve() -> NoReturn:
    """Runs the program, then does what its tests ask."""
    module = sys.modules["program"] = type(sys)("program")
    with open(_PROGRAM, "rb") as stream:
        code = compile(stream.read(), _PROGRAM, "exec", dont_inherit=True)
    _import_own_names(code, vars(builtins))  # there, no test finds them
    exec(code, vars(module))
    objects: list[Any] = [module]

    def keep(value: object) -> int:
        objects.append(value)
        return len(objects) - 1

    while True:
        number, verb, *rest = _decode(_receive(), objects.__getitem__)
        try:
            if verb == "get":
                value = getattr(objects[number], *rest)
            elif verb == "call":
                value = objects[number](*rest[0], **rest[1])
            else:
                value = list(objects[number])
            reply = [_encode(value, keep)]
        except Exception as error:  # noqa: BLE001 whatever it is, it is the answer
            reply = [str(error), [base.__name__ for base in type(error).__mro__]]
        _send(reply)


def _ask(number: int, verb: str, *rest: Any) -> Any:
    """Returns or raises what the program does. That it has ended is no error a test could catch."""
    try:
        _send(_encode([number, verb, *rest], _number))
        content, *errors = _receive()
    except (ConnectionError, EOFError):
        os._exit(FAILED)
    if not errors:
        return _decode(content, Remote)
    for name in errors[0]:
        kind = getattr(builtins, name, None)
        # Within map(…), an end of iteration would pass for that of the tests' own loop.
        if isinstance(kind, type) and issubclass(kind, Exception) and "Iteration" not in name:
            raise kind(content)
    raise RuntimeError(content)


def _number(value: object) -> int:
    if type(value) is not Remote:
        os._exit(UNSUPPORTED)  # an object of the tests' own, which cannot cross
    return value._remote_number


def _encode(value: Any, number: Callable[[Any], int]) -> Any:
    """Returns `value` as JSON, with a number for each object that cannot cross."""
    kind = type(value)
    if _TEXTS.get(kind.__name__) == kind.__module__:
        return {kind.__name__: str(value)}
    numpy = sys.modules.get("numpy")
    if numpy and isinstance(value, numpy.generic):
        value = value.item()
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, list):
        return [_encode(item, number) for item in value]
    if isinstance(value, dict):
        pairs = dict.items(value)
        return {"dict": [[_encode(key, number), _encode(item, number)] for key, item in pairs]}
    for name, collection in _COLLECTIONS.items():
        if isinstance(value, collection):
            return {name: [_encode(item, number) for item in value]}
    return {"bytes": value.hex()} if isinstance(value, bytes) else {"object": number(value)}


def _decode(value: Any, find: Callable[[int], Any]) -> Any:
    if isinstance(value, list):
        return [_decode(item, find) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {_decode(key, find): _decode(item, find) for key, item in content}
    if kind in _COLLECTIONS:
        return _COLLECTIONS[kind](_decode(item, find) for item in content)
    if kind in _TEXTS:
        found = getattr(importlib.import_module(_TEXTS[kind]), kind)
        return getattr(found, "fromisoformat", found)(content)
    return bytes.fromhex(content) if kind == "bytes" else find(content)


def _import_own_names(code: CodeType, namespace: dict[str, Any]) -> None:
    """Imports those of `OWN_NAMES` that the code mentions."""
    codes, names = [code], set[str]()
    for block in codes:
        codes += [value for value in block.co_consts if isinstance(value, CodeType)]
        names.update(block.co_names)
    for name in names & OWN_NAMES.keys() - namespace.keys():
        module, attribute = OWN_NAMES[name]
        found = importlib.import_module(module)
        namespace[name] = getattr(found, attribute) if attribute else found


def _send(message: object) -> None:
    _outgoing.write(json.dumps(message) + "\n")
    _outgoing.flush()


def _receive() -> Any:
    line = _incoming.readline()
    if not line.endswith("\n"):
        raise EOFError
    return json.loads(line)


if __name__ == "__main__":
    _incoming, _outgoing = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what is printed goes elsewhere
    if os.path.exists(_TESTS):
        _judge()
    _serve()
