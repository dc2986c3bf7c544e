"""Text from a model, a data set or a server, before it meets a terminal."""


def plain(text: str) -> str:
    r"""One line that a terminal shows as it stands: what it would obey instead (escape sequences,
    new lines, marks that turn the reading direction) is spelled out.

    >>> plain("a\x1b[2J\nb\u202e")
    'a\\x1b[2J\\nb\\u202e'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
