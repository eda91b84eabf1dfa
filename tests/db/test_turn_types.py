"""The two sides of a turn's JSON: Structs in Python, record types in SQL."""

import re

import msgspec
import pytest

from outlast.engine.database import Database
from outlast.engine.functions import functions_schema
from outlast.engine.turn import (
    Arrival,
    Cancellation,
    Completion,
    Ending,
    Holding,
    NewCall,
    NewRun,
    NewWaitpoint,
    Rescheduling,
    Rescue,
    Restarting,
    Suspension,
    Telling,
)
from outlast.protocol.statuses import Status

PAIRS: dict[str, tuple[type[msgspec.Struct], set[str]]] = {
    "new_run": (NewRun, set()),
    "new_call": (NewCall, set()),
    "ending": (Ending, {"n"}),
    "suspension": (Suspension, {"n"}),
    "holding": (Holding, {"n"}),
    "cancellation": (Cancellation, {"n"}),
    "rescuing": (Rescue, set()),
    "rescheduling": (Rescheduling, {"n"}),
    "restarting": (Restarting, {"n"}),
    "arrival": (Arrival, {"n"}),
    "new_waitpoint": (NewWaitpoint, set()),
    "completion": (Completion, set()),
    "told": (Telling, set()),
}

FIELDS = """
select a.attname from pg_type t
join pg_namespace n on n.oid = t.typnamespace
join pg_attribute a on a.attrelid = t.typrelid and a.attnum > 0
where n.nspname = $1 and t.typname = $2
"""


@pytest.mark.parametrize("name", PAIRS)
async def test_a_struct_has_the_fields_of_its_sql_type(database: Database, name: str) -> None:
    struct, only_sql = PAIRS[name]

    async with database.acquire() as executor:
        rows = await executor.connection.fetch(FIELDS, functions_schema(), name)

    fields = {field.name for field in msgspec.structs.fields(struct)}
    assert {row["attname"] for row in rows} - only_sql == fields


async def test_the_check_of_statuses_names_exactly_the_statuses(database: Database) -> None:
    async with database.acquire() as executor:
        text = await executor.connection.fetchval(
            "select pg_get_constraintdef(oid) from pg_constraint"
            " where conrelid = 'outlast.run_state'::regclass and contype = 'c'"
        )

    assert re.findall("'([a-z_]+)'::text", text) == [status.value for status in Status]
