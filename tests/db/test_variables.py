"""Environment variables lie encrypted in the database, each bound to its place."""

import asyncio

import pytest

from engines import Platform
from outlast.engine.engine import Engine
from outlast.engine.errors import Conflict, EngineError
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.variables import Variables

OLD, NEW = KeyRing.generate(), KeyRing.generate()


@pytest.fixture
def variables(engine: Engine) -> Variables:
    """Return the variables of one server."""
    return engine.variables


def under(engine: Engine, *keys: str) -> Variables:
    """Return the variables as a server with these encryption keys has them."""
    ring = KeyRing(keys)
    return Variables(engine.database, ring, Keys(engine.database, ring))


async def test_no_value_lies_in_the_clear(place: Platform, variables: Variables) -> None:
    await variables.save(place.environment.id, {"A": "mulberry"}, mode="new")

    [row] = await place.sql("select v::text from outlast.variable v")

    assert "mulberry" not in row[0]
    assert b"mulberry".hex() not in row[0]


async def test_a_value_moved_to_another_name_or_environment_does_not_open(
    place: Platform, engine: Engine, variables: Variables
) -> None:
    await variables.save(place.environment.id, {"A": "mulberry"}, mode="new")
    other = await engine.tenancy.environment("proj_test", "prod")
    await place.sql(
        "insert into outlast.variable (environment_id, name, ciphertext, is_secret) "
        "select $1, name, ciphertext, false from outlast.variable",
        other.id,
    )
    await place.sql("update outlast.variable set name = 'B' where environment_id <> $1", other.id)

    for environment, name in ((other.id, "A"), (place.environment.id, "B")):
        with pytest.raises(EngineError, match="encrypted"):
            await variables.retrieve(environment, name)


async def test_encryption_keys_are_replaced(place: Platform, engine: Engine) -> None:
    environment = place.environment.id
    await under(engine, OLD).save(environment, {"A": "1", "B": "2"}, mode="new")

    assert await under(engine, NEW, OLD).reencrypt() == 2

    assert (await under(engine, NEW).snapshot(environment)).values == {"A": "1", "B": "2"}


async def test_of_two_who_make_the_same_variable_one_is_told(
    place: Platform, variables: Variables
) -> None:
    done = await asyncio.gather(
        *(variables.save(place.environment.id, {"A": text}, mode="new") for text in "xy"),
        return_exceptions=True,
    )

    assert [type(one) for one in done if one is not None] == [Conflict]


async def test_a_value_is_in_no_representation(place: Platform, variables: Variables) -> None:
    await variables.save(place.environment.id, {"A": "mulberry"}, mode="new")

    found = await variables.retrieve(place.environment.id, "A")
    snapshot = await variables.snapshot(place.environment.id)

    assert "mulberry" not in f"{found!r} {found} {snapshot!r} {snapshot}"
    assert snapshot.values == {"A": "mulberry"}
