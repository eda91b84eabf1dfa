"""Projects get environments and keys; keys open one environment, are shown once and rotate."""

import base64

import pytest

from offices import Office
from outlast.engine.database import Database
from outlast.engine.errors import Conflict, EngineError, InvalidRequest, NotFound, Unauthorized
from outlast.engine.keys import KeyRing
from outlast.engine.queries import parse
from outlast.engine.tenancy import Environment

KEY = KeyRing.generate()
LATER = parse(
    "test",
    "-- name: later\nupdate outlast.api_key set expires_at = expires_at - interval '25 hours'",
)


@pytest.fixture
def office(database: Database) -> Office:
    return Office(database, KEY)


async def make(office: Office) -> tuple[Environment, str]:
    made = await office.tenancy.create_project("Acme", ref="acme")
    return made.environments[0], made.keys["dev"]


async def test_a_project_has_three_environments_with_a_key_each(office: Office) -> None:
    made = await office.tenancy.create_project("Acme")

    assert made.project.ref.startswith("proj_")
    assert [each.slug for each in made.environments] == ["dev", "stg", "prod"]
    assert [each.type for each in made.environments] == ["DEVELOPMENT", "STAGING", "PRODUCTION"]
    assert [each.pins_versions for each in made.environments] == [False, True, True]
    for each in made.environments:
        assert made.keys[each.slug].startswith(f"tr_{each.slug}_")
        assert len(made.keys[each.slug]) == len(f"tr_{each.slug}_") + 32
        opened = await office.tenancy.open_key(made.keys[each.slug])
        assert opened is not None
        assert opened.environment == each
        assert opened.kind == "root"


async def test_no_key_is_stored_or_printed_in_clear(office: Office, database: Database) -> None:
    made = await office.tenancy.create_project("Acme")
    dump = parse("test", "-- name: dump\nselect string_agg(k::text, ' ') from outlast.api_key k")

    stored = str(await database.fetch_value(dump["dump"]))

    for secret in made.keys.values():
        assert secret not in stored
        assert secret.encode().hex() not in stored
        assert secret not in repr(made)


async def test_a_taken_ref_and_a_malformed_one_are_refused(office: Office) -> None:
    await office.tenancy.create_project("Acme", ref="acme")

    with pytest.raises(Conflict, match="taken"):
        await office.tenancy.create_project("Acme", ref="acme")
    with pytest.raises(InvalidRequest):
        await office.tenancy.create_project("Acme", ref="A b")
    assert len(await office.tenancy.projects()) == 1


async def test_a_given_root_key_is_taken_and_never_shared(office: Office) -> None:
    secret = "tr_prod_" + "x" * 32

    made = await office.tenancy.create_project("A", secrets_by_slug={"prod": secret})

    assert made.keys["prod"] == secret
    with pytest.raises(Conflict, match="in use"):
        await office.tenancy.create_project("B", secrets_by_slug={"prod": secret})
    with pytest.raises(InvalidRequest):
        await office.tenancy.create_project("C", secrets_by_slug={"prod": "tr_prod_short"})


@pytest.mark.parametrize("secret", ["", "nonsense", "tr_dev_\0", "tr_dev_\ud800", "x" * 5000])
async def test_what_is_no_key_opens_nothing(office: Office, secret: str) -> None:
    assert await office.tenancy.open_key(secret) is None


async def test_a_rotated_key_works_until_its_grace_ends(office: Office, database: Database) -> None:
    environment, old = await make(office)

    new = (await office.keys.rotate(environment.id)).secret

    for secret in (old, new):
        assert await Office(database, KEY).tenancy.open_key(secret) is not None
    assert await office.keys.roots(environment.id) == (new, old)

    await database.execute(LATER["later"])
    assert await Office(database, KEY).tenancy.open_key(old) is None
    assert await Office(database, KEY).keys.roots(environment.id) == (new,)

    newest = (await office.keys.rotate(environment.id, grace=0)).secret

    assert await Office(database, KEY).tenancy.open_key(new) is None
    assert await Office(database, KEY).keys.roots(environment.id) == (newest,)


async def test_an_additional_key_opens_the_environment_until_revoked(
    office: Office, database: Database
) -> None:
    environment, _ = await make(office)

    made = await office.keys.create(environment.id, "ci")

    assert made.secret.startswith("tr_dev_sk_")
    assert len(made.secret) == len("tr_dev_sk_") + 24
    assert made.secret not in repr(made)
    opened = await office.tenancy.open_key(made.secret)
    assert opened is not None
    assert opened.kind == "additional"
    assert [key.name for key in await office.keys.list(environment.id)] == ["", "ci"]
    await office.keys.revoke(environment.id, made.id)
    assert await Office(database, KEY).tenancy.open_key(made.secret) is None
    with pytest.raises(NotFound):
        await office.keys.revoke(environment.id, made.id)


async def test_old_encryption_keys_decrypt_and_unknown_ones_say_so(
    office: Office, database: Database
) -> None:
    environment, secret = await make(office)
    other = KeyRing.generate()

    assert await Office(database, other, KEY).keys.roots(environment.id) == (secret,)
    with pytest.raises(EngineError, match="OUTLAST_ENCRYPTION_KEYS"):
        await Office(database, other).keys.roots(environment.id)


@pytest.mark.parametrize("key", ["", "short", "not base64!", base64.b64encode(b"x" * 16).decode()])
def test_a_malformed_encryption_key_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(InvalidRequest, match="number 1") as caught:
        KeyRing((key,))

    assert not key or key not in str(caught.value)


async def test_limits_of_an_environment_change(office: Office) -> None:
    environment, _ = await make(office)

    await office.tenancy.change(environment.id, concurrency_limit=7, paused=True)

    changed = await office.tenancy.environment("acme", "dev")
    assert (changed.concurrency_limit, changed.paused) == (7, True)
    with pytest.raises(NotFound):
        await office.tenancy.change("env_nothing", paused=True)


async def test_a_minted_token_is_verified_with_what_it_says(office: Office) -> None:
    environment, _ = await make(office)

    text = await office.tokens.mint(environment, ("read:runs:run_1",), skip_columns=("payload",))
    token = await office.tokens.verify(text)

    assert token.environment == environment
    assert token.scopes == ("read:runs:run_1",)
    assert token.skip_columns == ("payload",)
    assert not token.one_time


async def test_a_one_time_token_is_used_once(office: Office) -> None:
    environment, _ = await make(office)
    text = await office.tokens.mint(environment, ("trigger:tasks:a",), one_time=True)

    await office.tokens.spend(await office.tokens.verify(text))

    with pytest.raises(Conflict, match="used already"):
        await office.tokens.spend(await office.tokens.verify(text))
    assert await office.tokens.prune() == 0


async def test_a_token_survives_the_rotation_of_its_key_for_the_grace_period(
    office: Office, database: Database
) -> None:
    environment, _ = await make(office)
    text = await office.tokens.mint(environment, ())

    await office.keys.rotate(environment.id)
    assert (await office.tokens.verify(text)).environment.id == environment.id

    await office.keys.rotate(environment.id, grace=0)
    with pytest.raises(Unauthorized):
        await Office(database, KEY).tokens.verify(text)
