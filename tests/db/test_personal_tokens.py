"""Personal tokens are shown once, lie hashed, end, and go only as far as their account does."""

import pytest

from engines import Platform
from outlast.engine.engine import Engine
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.protocol.roles import Role


async def test_a_token_tells_whose_it_is_and_what_they_may_now(engine: Engine) -> None:
    users = engine.users
    ada = await users.add("ada", Role.VIEWER)

    made = await users.tokens.create("ada", "laptop")
    holder = await users.tokens.open(made.secret)

    assert holder is not None
    assert (holder.account, holder.account_id, holder.role) == ("ada", ada.id, Role.VIEWER)
    await users.change("ada", role=Role.ADMIN)
    changed = await users.tokens.open(made.secret)
    assert changed is not None
    assert changed.role is Role.ADMIN


async def test_only_its_hash_is_stored_and_lists_show_no_secret(
    engine: Engine, place: Platform
) -> None:
    await engine.users.add("ada", Role.VIEWER)
    made = await engine.users.tokens.create("ada", "laptop")

    [row] = await place.sql("select t::text from outlast.personal_token t")
    [shown] = await engine.users.tokens.list("ada")

    assert made.secret.startswith("tr_pat_")
    assert len(made.secret) == len("tr_pat_") + 40
    assert made.secret not in row[0]
    assert made.secret not in f"{made!r}{shown!r}"
    assert (shown.id, shown.name, shown.last_used_at) == (made.id, "laptop", None)


async def test_a_token_opens_nothing_after_its_end(engine: Engine, place: Platform) -> None:
    await engine.users.add("ada", Role.VIEWER)
    made = await engine.users.tokens.create("ada", seconds=60)
    assert await engine.users.tokens.open(made.secret) is not None

    await place.sql("update outlast.personal_token set expires_at = clock_timestamp()")

    assert await engine.users.tokens.open(made.secret) is None
    assert await engine.users.tokens.list("ada") == []
    await engine.users.prune()
    assert await place.sql("select 1 from outlast.personal_token") == []


async def test_a_token_ends_with_its_account_and_when_revoked(engine: Engine) -> None:
    users = engine.users
    await users.add("ada", Role.VIEWER)
    await users.add("bob", Role.VIEWER)
    one, two = await users.tokens.create("ada"), await users.tokens.create("ada")

    with pytest.raises(NotFound):
        await users.tokens.revoke("bob", one.id)
    assert await users.tokens.open(one.secret) is not None
    await users.tokens.revoke("ada", one.id)
    assert await users.tokens.open(one.secret) is None
    await users.remove("ada")
    assert await users.tokens.open(two.secret) is None


@pytest.mark.parametrize("secret", ["", "tr_pat_", "tr_pat_\0", "tr_pat_\ud800", "tr_dev_x"])
async def test_what_is_no_token_opens_nothing(engine: Engine, secret: str) -> None:
    assert await engine.users.tokens.open(secret) is None


async def test_a_token_needs_an_account_and_a_life(engine: Engine) -> None:
    with pytest.raises(NotFound, match="no account"):
        await engine.users.tokens.create("nobody")
    await engine.users.add("ada", Role.VIEWER)
    with pytest.raises(InvalidRequest):
        await engine.users.tokens.create("ada", seconds=0)
