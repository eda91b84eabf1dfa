"""Named statements are loaded, numbered and refused where they break the rules."""

import re
from pathlib import Path

import pytest

from outlast.engine import queries
from outlast.engine.database import Database
from outlast.engine.functions import functions_schema
from outlast.engine.queries import QueryError, concepts, load, parse


def test_names_become_numbers_and_casts_and_literals_stay() -> None:
    text = """
-- name: find
-- One comment.
select ':a' as "x:y", :b::text || E'it\\':a' || $$ :a $$, t[1:2], x::int -- :a
from t /* :a */ where b = :b and a = :a
"""

    statement = parse("runs", text)["find"]

    assert statement.name == "runs.find"
    assert statement.parameters == ("b", "a")
    assert "$1::text" in statement.sql
    assert "b = $1 and a = $2" in statement.sql
    assert "':a' as \"x:y\"" in statement.sql
    assert "t[1:2], x::int" in statement.sql
    assert "/*" not in statement.sql


def test_the_code_schema_is_filled_in() -> None:
    statement = parse("runs", "-- name: turn\nselect outlast_code.turn(:a)")["turn"]

    assert statement.sql == f"select {functions_schema()}.turn($1)"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("select 1", "code before the first"),
        ("-- name: a\nselect 1\n-- name: a\nselect 2", "taken"),
        ("-- name: a\n-- only words", "no statement"),
        ("-- name: A b\nselect 1", "lower-case"),
        ("-- name: a\n-- 1\n-- 2\n-- 3\n-- 4\nselect 1", "comment lines"),
        ("-- name: a\nselect 1; select 2", "more than one statement"),
    ],
)
def test_a_file_that_breaks_the_rules_is_refused(text: str, reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        parse("runs", text)


def test_a_semicolon_in_a_literal_is_no_second_statement() -> None:
    assert parse("runs", "-- name: a\nselect ';' || 'x';")["a"].sql == "select ';' || 'x'"


def test_a_wrong_set_of_values_names_both() -> None:
    statement = parse("runs", "-- name: a\nselect :x")["a"]

    with pytest.raises(QueryError, match=r"runs.a takes \['x'\], was given \['y'\]"):
        statement.arguments({"y": 1})


@pytest.mark.parametrize("concept", concepts())
def test_every_statement_is_used(concept: str) -> None:
    code = "\n".join(path.read_text() for path in Path(queries.__file__).parent.glob("*.py"))

    unused = [name for name in load(concept).statements if not re.search(rf"\.{name}\b", code)]

    assert unused == [] or all(f'"{name}"' in code for name in unused)


@pytest.mark.parametrize("concept", concepts())
async def test_postgresql_can_describe_every_statement(database: Database, concept: str) -> None:
    found = load(concept)

    async with database.acquire() as executor:
        for statement in found.statements.values():
            prepared = await executor.connection.prepare(statement.sql)
            assert len(prepared.get_parameters()) == len(statement.parameters)
