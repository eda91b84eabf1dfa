"""The page of settings names every setting there is, with its default, and no other."""

import ast
import re
from dataclasses import MISSING, fields
from pathlib import Path

import msgspec
import typer

from outlast.cli.main import app
from outlast.server.settings import ServerSettings
from outlast.worker import settings as worker

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "outlast"
PAGE = (ROOT / "docs" / "reference" / "settings.md").read_text()
VARIABLE = re.compile(r"(?:OUTLAST|TRIGGER)_[A-Z0-9_]+")
BETWEEN_OUR_PROCESSES = {
    "OUTLAST_DATABASE_URL_OF_COMMAND",
    "OUTLAST_INSPECT_PORT",
    "OUTLAST_OUTBOX_DATABASE_URL_OF_COMMAND",
    "OUTLAST_PDB_TERMINAL",
}
ONLY_WITHHELD = {"OUTLAST_ACCESS_TOKEN", "OUTLAST_BOOTSTRAP_SECRET_KEY", "TRIGGER_ACCESS_TOKEN"}
CODES = {"TRIGGER_WAITPOINT_TIMEOUT"}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the section's table, without its head."""
    section = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE
    )
    assert section is not None, heading
    lines = [line for line in section[1].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def shown(value: object) -> str:
    """Return how the page writes a default."""
    if value is None or value in ((), ""):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def variables_of_the_code() -> set[str]:
    """Return each variable that stands in the code as a whole text, or describes a field."""
    found = set(VARIABLE.findall((SOURCE / "server" / "settings.py").read_text())) - {"OUTLAST_X"}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update([node.value] if VARIABLE.fullmatch(node.value) else [])
    return {name for name in found if not name.endswith("_")}


def test_every_variable_has_its_row_and_every_row_its_variable() -> None:
    told = set(VARIABLE.findall(PAGE))

    assert told == variables_of_the_code() - BETWEEN_OUR_PROCESSES - ONLY_WITHHELD - CODES


def test_the_servers_table_has_the_fields_and_their_defaults() -> None:
    table = {name: row[1] for row in rows("Server") for name in names(row[0])}
    simple = {f"OUTLAST_{field.name.upper()}": field for field in fields(ServerSettings)}
    del simple["OUTLAST_OBJECTS"]

    assert (
        simple.keys() | {name for name in table if name.startswith("OUTLAST_S3_")} == table.keys()
    )
    for name, field in simple.items():
        if field.default is not MISSING:
            assert table[name] == shown(field.default), name
        elif field.default_factory is MISSING:
            assert table[name] == "required", name


def test_the_workers_table_has_the_keys_and_their_defaults() -> None:
    table = {name: row[1] for row in rows("Worker: `[tool.outlast]`") for name in names(row[0])}
    keys = {
        field.name: field.default
        for field in msgspec.structs.fields(worker._Project)
        if field.name != "retries"
    } | {
        f"retries.{field.name}": field.default for field in msgspec.structs.fields(worker._Retries)
    }
    written = keys | {
        "dirs": '["trigger"]',  # None there: which one it is depends on the folders
        "log_level": f'"{keys["log_level"]}"',
    }

    assert table == {name: shown(default) for name, default in written.items()}


def test_the_workers_options_are_those_of_the_command() -> None:
    command = typer.main.get_command(app).get_command(None, "worker")  # type: ignore[attr-defined]
    told = {name: row for row in rows("Worker: options") for name in names(row[0])}
    there = {max(option.opts, key=len): option for option in command.params}

    assert told.keys() == there.keys() - {"--help"}
    for name, option in there.items():
        if option.envvar:
            assert names(told[name][1]) == [option.envvar], name
    assert told["--drain"][2] == shown(worker.DRAIN)
    assert f"{worker.SHARED_CONCURRENCY} at once" in told["--loops"][3]
