"""Ids sort by creation whatever the language of the database: the page cursor relies on it."""

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from offices import Office, manifest, task
from outlast.engine.database import Database, DatabaseSettings
from outlast.engine.filters import Page
from outlast.engine.migrations import migrate
from outlast.engine.runs import Runs
from outlast.engine.turn import NewRun, play
from outlast.protocol.triggers import Trigger
from postgres import administrate, url_of

COLUMNS = """
select table_name || '.' || column_name from information_schema.columns
where table_schema = 'outlast' and data_type = 'text' and collation_name is distinct from 'C'
  and (column_name = 'id' or column_name like '%\\_id' or column_name = 'key')
"""


@pytest.fixture
async def english(database_url: str) -> AsyncIterator[Database]:
    name = f"outlast_english_{uuid.uuid4().hex[:8]}"
    try:
        await administrate(
            database_url,
            f"create database {name} template template0 locale_provider icu icu_locale 'en-US'",
        )
    except asyncpg.PostgresError as error:
        pytest.skip(f"this PostgreSQL has no ICU: {error}")
    async with await Database.open(DatabaseSettings(url=url_of(database_url, name))) as database:
        await migrate(database)
        yield database
    await administrate(database_url, f"drop database {name} with (force)")


async def test_pages_follow_creation_in_an_english_database(english: Database) -> None:
    office = Office(english)
    environment = (await office.project()).environments[0]
    await office.catalogue.register(environment.id, manifest("a", task("one")))
    admitted = await office.admission.admit(environment, [Trigger(task="one")] * 60)
    made = [one for one in admitted if isinstance(one, NewRun)]
    async with english.acquire() as executor:
        await play(executor, environment.id, made, pools=[], homes=[], server="test", clock=None)
    expected = sorted((one.run for one in made), reverse=True)

    runs, seen, cursor = Runs(english), list[str](), None
    while True:
        page = await runs.page(environment.id, page=Page(size=7, after=cursor))
        seen += [run.id for run in page.runs]
        cursor = page.next
        if cursor is None:
            break

    assert seen == expected


async def test_every_id_and_key_column_is_compared_by_bytes(database: Database) -> None:
    async with database.acquire() as executor:
        wrong = await executor.connection.fetch(COLUMNS)

    assert [row[0] for row in wrong] == []
