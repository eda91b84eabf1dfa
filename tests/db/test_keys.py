"""Keys: named, dated, noted when used; encryption keys are replaced without a pause."""

import pytest

from offices import Office
from outlast.engine.database import Database
from outlast.engine.errors import EngineError, InvalidRequest
from outlast.engine.keys import KeyRing

OLD, NEW = KeyRing.generate(), KeyRing.generate()


async def test_a_key_is_listed_with_its_name_end_and_last_use(database: Database) -> None:
    office = Office(database)
    environment = (await office.project()).environments[0]
    made = await office.keys.create(environment.id, "ci", seconds=3600)

    before = {one.id: one for one in await office.keys.list(environment.id)}[made.id]
    await office.tenancy.open_key(made.secret)
    after = {one.id: one for one in await office.keys.list(environment.id)}[made.id]

    assert before.name == "ci"
    assert before.last_used_at is None
    assert before.expires_at is not None
    assert round((before.expires_at - before.created_at).total_seconds()) == 3600
    assert after.last_used_at is not None


async def test_a_key_whose_time_is_over_opens_nothing(database: Database) -> None:
    office = Office(database)
    environment = (await office.project()).environments[0]

    made = await office.keys.create(environment.id, seconds=1e-6)

    assert await office.tenancy.open_key(made.secret) is None


async def test_a_name_that_is_too_long_is_refused(database: Database) -> None:
    office = Office(database)
    environment = (await office.project()).environments[0]

    with pytest.raises(InvalidRequest):
        await office.keys.create(environment.id, "x" * 65)


async def test_an_old_encryption_key_can_be_dropped_once_all_is_encrypted_anew(
    database: Database,
) -> None:
    project = await Office(database, OLD).project()
    environment = project.environments[0]

    count = await Office(database, NEW, OLD).keys.reencrypt()

    assert count == 3
    assert await Office(database, NEW).keys.roots(environment.id) == (project.keys["dev"],)
    with pytest.raises(EngineError):
        await Office(database, OLD).keys.roots(environment.id)


async def test_a_token_of_a_key_made_on_another_server_is_good_at_once(database: Database) -> None:
    here, there = Office(database), Office(database)
    environment = (await here.project()).environments[0]
    await there.keys.roots(environment.id)  # kept there

    await here.keys.rotate(environment.id, grace=0)
    token = await here.tokens.mint(environment, ("read:runs",))

    assert (await there.tokens.verify(token)).scopes == ("read:runs",)
