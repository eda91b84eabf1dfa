"""Named SQL statements: one `sql/<concept>.sql` file per concept, loaded at import.

```sql
-- name: retrieve_run
-- Up to three lines on hazard or plan.
select id, task from outlast.run where environment = :environment and id = :id::text
```

`:name` becomes `$n`; casts (`::text`), literals, quoted identifiers and comments are left alone.
`outlast_code.` stands for the schema of this code's SQL functions (see `migrations.py`).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from outlast.engine.functions import expand

_SQL = Path(__file__).parent / "sql"
_MAX_COMMENT_LINES = 3
_HEADER = re.compile(r"^--\s*name:(.*)$")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TOKEN = re.compile(
    r"""
      (?P<comment>--[^\n]*|/\*.*?\*/)
    | (?P<escaped>\b[eE]'(?:[^'\\]|''|\\.)*')
    | (?P<literal>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<dollar>\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$)
    | (?P<cast>::)
    | (?<![A-Za-z0-9_:\])]):(?P<parameter>[a-z_][a-z0-9_]*)
    """,
    re.VERBOSE | re.DOTALL,
)


class QueryError(Exception):
    """A file of statements breaks the rules; the message names file and statement."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One named statement in the driver's form, with its parameter names in `$n` order."""

    name: str
    sql: str
    parameters: tuple[str, ...]

    def arguments(self, values: dict[str, object]) -> list[object]:
        """Return the values in the statement's order. Raises `QueryError` on a wrong set."""
        if len(values) != len(self.parameters) or any(p not in values for p in self.parameters):
            raise QueryError(
                f"{self.name} takes {sorted(self.parameters)}, was given {sorted(values)}"
            )
        return [values[parameter] for parameter in self.parameters]


class Queries:
    """The statements of one concept as attributes."""

    def __init__(self, concept: str, statements: dict[str, Statement]) -> None:
        self.concept = concept
        self.statements = statements

    def __getattr__(self, name: str) -> Statement:
        try:
            return self.statements[name]
        except KeyError:
            raise AttributeError(f"sql/{self.concept}.sql has no statement {name!r}") from None


def load(concept: str) -> Queries:
    """Return the statements of `sql/<concept>.sql`."""
    text = (_SQL / f"{concept}.sql").read_text(encoding="utf-8")
    return Queries(concept, parse(concept, text))


def concepts() -> list[str]:
    """Return the concepts that have a file of statements."""
    return sorted(path.stem for path in _SQL.glob("*.sql"))


def parse(concept: str, text: str) -> dict[str, Statement]:
    """Return the named statements of a file's text. Raises `QueryError` with the place."""
    statements: dict[str, Statement] = {}
    name: str | None = None
    lines: list[str] = []
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header is None:
            lines.append(line)
            continue
        _take(concept, name, lines, statements)
        name, lines = header.group(1).strip(), []
    _take(concept, name, lines, statements)
    return statements


def _take(
    concept: str, name: str | None, lines: list[str], statements: dict[str, Statement]
) -> None:
    code = [line for line in lines if line.strip() and not line.lstrip().startswith("--")]
    if name is None:
        if code:
            raise QueryError(f"sql/{concept}.sql: code before the first '-- name:' line")
        return
    place = f"sql/{concept}.sql, {name!r}"
    if not _NAME.fullmatch(name):
        raise QueryError(f"{place}: a name is lower-case letters, digits and underscores")
    if name in statements:
        raise QueryError(f"{place}: the name is taken by an earlier statement")
    if not code:
        raise QueryError(f"{place}: no statement follows")
    comment_lines = 0
    for line in lines:
        if not line.lstrip().startswith("--"):
            break
        comment_lines += 1
    if comment_lines > _MAX_COMMENT_LINES:
        raise QueryError(f"{place}: more than {_MAX_COMMENT_LINES} comment lines")
    sql, parameters = compile_parameters("\n".join(lines))
    if ";" in sql.rstrip().removesuffix(";"):
        _refuse_second_statement(place, sql)
    statements[name] = Statement(
        f"{concept}.{name}", expand(sql.strip().removesuffix(";")), parameters
    )


def _refuse_second_statement(place: str, sql: str) -> None:
    bare = _TOKEN.sub("", sql)
    if ";" in bare.rstrip().removesuffix(";"):
        raise QueryError(f"{place}: more than one statement")


def compile_parameters(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the SQL with `$n` for each `:name`, without comments, and the names in order."""
    numbers: dict[str, int] = {}

    def replace(match: re.Match[str]) -> str:
        if match.group("comment") is not None:
            return ""
        parameter = match.group("parameter")
        if parameter is None:
            return match.group(0)
        return f"${numbers.setdefault(parameter, len(numbers) + 1)}"

    sql = _TOKEN.sub(replace, text)
    lines = [line.rstrip() for line in sql.splitlines() if line.strip()]
    return "\n".join(lines), tuple(numbers)
