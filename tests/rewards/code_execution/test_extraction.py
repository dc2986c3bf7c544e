"""The program of a response is its last Python block, else its last block without a language."""

import pytest

from twogrpo.rewards.code_execution.extraction import extract_program


@pytest.mark.parametrize(
    ("response", "program"),
    [
        ("```python\na\n```\nno:\n```py\nb\n```", "b\n"),
        ("```\na\n```\n```\nb\n```\n", "b\n"),
        ("```bash\nx\n```\nThen:\n```python\na\n```", "a\n"),
        ("```json\n{}\n```\n```\na\n```", "a\n"),
        ("```python\na\n```\nIt prints:\n```\n5\n```\nas wanted.", "a\n"),
        ("```python\na\n```\n```python\n \n```", "a\n"),
        *((f"```{label}\na\n```", "a\n") for label in (
            "Python 3", "python3.11", " PY", 'python title="a.py"', "{.python .numberLines}")),
        *((f"```{label}\na\n```", None) for label in ("pycon", "python-repl", "cpp", "text")),
        ("~~~python\na\n```\n~~~", "a\n```\n"),
        ("````python\n'''\n```\nb\n```\n'''\n````", "'''\n```\nb\n```\n'''\n"),
        ("```python\nif a:\n    b\n``````", "if a:\n    b\n"),
        ("1. So:\n   ```python\n   if a:\n       b\n   ```", "if a:\n    b\n"),
        ("- ```python\n  if a:\n      b\n  ```", "if a:\n    b\n"),
        ("\t```python\n\tif a:\n\t\tb\nc\n\t```", "if a:\n\tb\nc\n"),
        ("Call ```f(1)``` first.\n```f(1)```\n```python\na\n```", "a\n"),
        ("```python\r\na\r\n```\r\n", "a\r\n"),
        ("<think>x</think>\n<answer>```python\na\n```</answer>", "a\n"),
        ("</think><answer> ```\na\n``` </answer>\n", "a\n"),
        ("<answer>\n```python\nf('</answer>')\n```</answer></solution>", "f('</answer>')\n"),
        ("Solution: ```python\na\n```", "a\n"),
        ("**Solution**: ```py\na\n```\nas wanted", "a\n"),
        ("So:```\na\n```", "a\n"),
        ("**Solution:** ```\na\n```", "a\n"),
        ("Solution: ~~~python\na\n~~~", "a\n"),
        ("1. Solution: ```python\n   if a:\n       b\n   ```", "if a:\n    b\n"),
        ("It prints ```5```: python\n```python\na\n```", "a\n"),
        ("It uses ``` as a mark.\n```python\na\n```", "a\n"),
        ("> So:\n> ```python\n> if a:\n>     b\n>\n> c\n> ```", "if a:\n    b\n\nc\n"),
        (">```python\n>if a:\n>    b\n>```", "if a:\n   b\n"),  # as in Markdown
        ("> > - ```python\n> >   a\n> >   > b\n> >   ```", "a\n> b\n"),
        ("```python\n> a\n>>> b\n```", "> a\n>>> b\n"),
        ("```python\na = '''\n b```</answer>\n'''\n```", "a = '''\n b```</answer>\n'''\n"),
        ("```python\na\n", None),  # cut off
        ("```\n   \n```", None),
        ("a = 1", None),
        ("", None),
        ("```python\n" + "a" * 100_001 + "\n```", None),
    ],
)  # fmt: skip
def test_blocks_worked_by_hand(response: str, program: str | None) -> None:
    assert extract_program(response) == program


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [" ", "`", "~", "- ", "1. ", "```\n", "``` ", "\n", "\t", "py", "> ", "> \n", "</a>", "a ```"],
)
def test_a_long_response_is_read_in_time(text: str) -> None:
    """In time that is quadratic in its length, this would take minutes."""
    for opening in ("", "```", "```python\n"):
        for ending in ("", "x`"):
            assert extract_program(opening + text * 300_000 + ending) is None
