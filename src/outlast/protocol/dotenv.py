"""The text of a `.env` file read: what people paste, import and keep beside their code.

Lines of `NAME=value`, with or without `export`. In single quotes everything is literal; in double
quotes a backslash escapes (n, r, t, a quote, itself); both may span lines. Elsewhere ` #` begins a
comment. Nothing is expanded: a `$` is a `$`.
"""

import re

_NAME = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*")
_SKIPPED = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|$)")
_SINGLE = re.compile(r"'([^']*)'")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PLAIN = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"(?:^|[ \t]+)#.*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


class DotenvError(ValueError):
    """A line is no variable. Tells which, and never what stands there: it may be a secret."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


def parse(text: str) -> dict[str, str]:
    """Return the variables of a text; of one name the last counts. Raises `DotenvError`."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        if skipped := _SKIPPED.match(text, at):
            at = skipped.end()
            continue
        line = text.count("\n", 0, at) + 1
        name = _NAME.match(text, at)
        if name is None:
            raise DotenvError(line, "write NAME=value; a name has letters, digits and _")
        value, at = _value(text, name.end(), line)
        found[name[1]] = value
    return found


def _value(text: str, at: int, line: int) -> tuple[str, int]:
    """Return the value that begins here, and where the next line does."""
    quote = text[at : at + 1]
    if quote not in {"'", '"'}:
        plain = _PLAIN.match(text, at)
        assert plain is not None, "it matches nothing as well"
        return _COMMENT.sub("", plain[0]).rstrip(), plain.end() + 1
    quoted = (_SINGLE if quote == "'" else _DOUBLE).match(text, at)
    if quoted is None:
        raise DotenvError(line, f"a {quote} is never closed")
    rest = _SKIPPED.match(text, quoted.end())
    if rest is None:
        raise DotenvError(line, f"something stands behind the closing {quote}")
    value = quoted[1]
    if quote == '"':
        value = _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[0]), value)
    return value, rest.end()
