"""Triggers in an app's own transactions: there is a run for what committed, once, and none else."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from outlast import Promised, UsageError, batch, runs, task, tasks
from outlast.cli import relay as relay_module
from outlast.cli.relay import Relay, undelivered
from outlast.client import clients
from outlast.protocol.triggers import Trigger, Triggered
from outlast.sdk.outbox import ddl
from outlast.sdk.registry import registry
from outlast.testing import Platform
from programs import outlast, run_outlast

with registry.isolated():

    @task("receipt")
    async def receipt(order: int) -> str:
        return f"receipt of {order}"


@pytest.fixture
async def env() -> AsyncIterator[Platform]:
    async with Platform(tasks=[receipt]) as opened:
        yield opened


@pytest.fixture
async def shop(fresh_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Return a connection of the app, whose database is another one than the platform's."""
    owner = await asyncpg.connect(fresh_url)
    database = await owner.fetchval("select current_database()")
    await owner.execute("create schema shop")
    await owner.execute(f'alter database "{database}" set search_path = shop')
    await owner.close()
    connection = await asyncpg.connect(fresh_url)
    await connection.execute("create table orders (id int primary key)")
    await connection.execute(ddl())
    await connection.execute(ddl())  # it may run again
    yield connection
    await connection.close()


async def made() -> list[str]:
    return [run.id async for run in runs.list(task="receipt")]


async def rows(shop: asyncpg.Connection) -> int:
    return int(await shop.fetchval("select count(*) from outlast_outbox"))


async def test_what_committed_is_delivered_and_what_rolled_back_never_was(
    env: Platform, shop: asyncpg.Connection, fresh_url: str
) -> None:
    async with shop.transaction():
        await shop.execute("insert into orders values (1)")
        promised = await receipt.trigger(1, connection=shop)
    rolled_back = shop.transaction()
    await rolled_back.start()
    await tasks.trigger("receipt", 2, connection=shop)
    await rolled_back.rollback()
    assert isinstance(promised, Promised)
    assert await made() == []

    delivered = await Relay(fresh_url).run_once()

    assert delivered == 1
    [run] = await made()
    assert (await env.result(run)).output == "receipt of 1"
    assert await rows(shop) == 0


async def write_with_psycopg(url: str, number: int, *, commit: bool) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await receipt.trigger(number, connection=connection)
        await (connection.commit() if commit else connection.rollback())


async def write_with_blocking_psycopg(url: str, number: int, *, commit: bool) -> None:
    def write() -> None:
        with psycopg.connect(url) as connection:
            receipt.trigger_sync(number, connection=connection)
            (connection.commit if commit else connection.rollback)()

    await asyncio.to_thread(write)


async def write_with_an_async_session(url: str, number: int, *, commit: bool) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with AsyncSession(engine) as session:
        await session.execute(text("insert into orders values (:id)"), {"id": number})
        await receipt.trigger(number, connection=session)
        await (session.commit() if commit else session.rollback())
    await engine.dispose()


async def write_with_a_session(url: str, number: int, *, commit: bool) -> None:
    def write() -> None:
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        with Session(engine) as session:
            tasks.trigger_sync("receipt", number, connection=session)
            (session.commit if commit else session.rollback)()
        engine.dispose()

    await asyncio.to_thread(write)


class Cursors:
    """What a framework's wrapper of a driver looks like, such as Django's."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.in_atomic_block = True
        self.cursor = connection.cursor


async def write_with_cursors(url: str, number: int, *, commit: bool) -> None:
    def write() -> None:
        with psycopg.connect(url) as connection:
            receipt.trigger_sync(number, connection=Cursors(connection))
            (connection.commit if commit else connection.rollback)()

    await asyncio.to_thread(write)


@pytest.mark.parametrize(
    "write",
    [
        write_with_psycopg,
        write_with_blocking_psycopg,
        write_with_an_async_session,
        write_with_a_session,
        write_with_cursors,
    ],
)
async def test_every_driver_carries_it(
    env: Platform,
    shop: asyncpg.Connection,
    fresh_url: str,
    write: Callable[..., Awaitable[None]],
) -> None:
    await write(fresh_url, 1, commit=True)
    await write(fresh_url, 2, commit=False)

    assert await Relay(fresh_url).run_once() == 1
    [run] = await made()
    assert (await env.result(run)).output == "receipt of 1"


async def test_a_relay_that_dies_before_its_commit_delivers_nothing_twice(
    env: Platform, shop: asyncpg.Connection, fresh_url: str
) -> None:
    """The server has the runs, the rows are still there, another relay comes."""
    async with shop.transaction():
        for number in range(3):
            await receipt.trigger(number, connection=shop)

    class Killed(BaseException):
        pass

    async def send(wanted: Trigger) -> Triggered:
        made = await clients.send_trigger(wanted)
        if wanted.payload == "2":
            raise Killed
        return made

    with pytest.raises(Killed):
        await Relay(fresh_url, send=send).run_once()
    assert await rows(shop) == 3

    assert await Relay(fresh_url).run_once() == 3

    assert len(await made()) == 3
    assert await rows(shop) == 0


async def test_two_relays_share_the_rows(
    env: Platform, shop: asyncpg.Connection, fresh_url: str
) -> None:
    async with shop.transaction():
        for number in range(300):
            await receipt.trigger(number, connection=shop)

    counts = await asyncio.gather(*(Relay(fresh_url).run_once() for _ in range(2)))

    assert sum(counts) == 300
    assert len(await made()) == 300


async def test_what_the_server_refuses_is_kept_and_named(
    env: Platform,
    shop: asyncpg.Connection,
    fresh_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with shop.transaction():
        await tasks.trigger("nobody", connection=shop)
        await receipt.trigger(1, connection=shop)

    with caplog.at_level(logging.ERROR, "outlast.outbox"):
        delivered = await Relay(fresh_url).run_once()

    [row] = await shop.fetch("select * from outlast_outbox")
    assert delivered == 1
    assert (row["attempts"], "nobody" in row["error"]) == (1, True)
    assert row["next_at"] > row["created_at"]
    assert f"outbox row {row['number']} has no run yet" in caplog.text
    [listed] = await undelivered(fresh_url)
    assert (listed.number, listed.attempts, listed.error) == (row["number"], 1, row["error"])


async def test_a_delay_counts_from_the_call_and_not_from_the_delivery(
    env: Platform, shop: asyncpg.Connection
) -> None:
    async with shop.transaction():
        await receipt.trigger(1, delay="1h", connection=shop)

    body = await shop.fetchval("select body from outlast_outbox")
    assert '"delay_until":' in body
    assert '"delay":' not in body


async def test_a_connection_without_a_transaction_is_refused(
    env: Platform, shop: asyncpg.Connection, fresh_url: str
) -> None:
    with pytest.raises(UsageError, match="no transaction open"):
        await receipt.trigger(1, connection=shop)
    async with await psycopg.AsyncConnection.connect(fresh_url, autocommit=True) as connection:
        with pytest.raises(UsageError, match="no transaction open"):
            await receipt.trigger(1, connection=connection)
        async with connection.transaction():
            await receipt.trigger(1, connection=connection)
    assert await rows(shop) == 1


async def test_a_connection_of_the_other_kind_is_told_its_call(
    env: Platform, shop: asyncpg.Connection, fresh_url: str
) -> None:
    told = pytest.raises(UsageError, match=r"use trigger_sync\(\.\.\., connection=\.\.\.\)")
    with psycopg.connect(fresh_url) as blocking, told:
        await receipt.trigger(1, connection=blocking)
    with pytest.raises(UsageError, match="await trigger"):
        receipt.trigger_sync(1, connection=shop)
    with pytest.raises(UsageError, match=r"builtins\.str"):
        receipt.trigger_sync(1, connection="postgresql://")
    with pytest.raises(UsageError, match="only trigger"):
        await batch.trigger(receipt.item(1, connection=shop))  # type: ignore[call-arg]


async def test_a_missing_table_and_a_missing_right_say_what_to_do(
    env: Platform, shop: asyncpg.Connection, fresh_url: str
) -> None:
    await shop.execute("create role clerk_of_outbox; grant usage on schema shop to clerk_of_outbox")
    try:
        refused = shop.transaction()
        await refused.start()
        await shop.execute("set local role clerk_of_outbox")
        with pytest.raises(UsageError, match="grant insert"):
            await receipt.trigger(1, connection=shop)
        await refused.rollback()
        await shop.execute("grant insert on outlast_outbox to clerk_of_outbox")
        async with shop.transaction():
            await shop.execute("set local role clerk_of_outbox")
            await receipt.trigger(1, connection=shop)
        clerk = f"{fresh_url}{'&' if '?' in fresh_url else '?'}role=clerk_of_outbox"
        with pytest.raises(UsageError, match="grant select, update, delete"):
            await Relay(clerk).run_once()
    finally:
        await shop.execute("drop owned by clerk_of_outbox; drop role clerk_of_outbox")
    await shop.execute("drop table outlast_outbox")
    nowhere = shop.transaction()
    await nowhere.start()
    with pytest.raises(UsageError, match="outlast outbox sql"):
        await receipt.trigger(1, connection=shop)
    await nowhere.rollback()
    with pytest.raises(UsageError, match="outlast outbox sql"):
        await Relay(fresh_url).run_once()
    with pytest.raises(UsageError, match="outlast outbox sql"):
        await undelivered(fresh_url)
    with pytest.raises(UsageError, match="no PostgreSQL URL"):
        await Relay("mysql://shop").run(asyncio.Event())


async def test_a_relay_that_follows_waits_for_its_table_and_says_so_once(
    env: Platform, shop: asyncpg.Connection, fresh_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_LOOK_AGAIN_SECONDS", 0.01)
    await shop.execute("drop table outlast_outbox")
    stop, said, told = asyncio.Event(), list[str](), asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        told.set()

    following = asyncio.create_task(Relay(fresh_url, poll=0.01).follow(stop, say))
    await told.wait()
    await shop.execute(ddl())
    async with shop.transaction():
        await receipt.trigger(1, connection=shop)
    await until_async(lambda: rows(shop), 0)
    stop.set()
    await following

    assert len(said) == 1
    assert "outlast outbox sql" in said[0]
    assert len(await made()) == 1


APP = """
import asyncio, os, sys
import asyncpg
from outlast import tasks

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    async with connection.transaction():
        await connection.execute("insert into orders values (7)")
        await tasks.trigger("receipt", 7, connection=connection)
    os.kill(os.getpid(), 9)  # nothing of the app happens after the commit

asyncio.run(main())
"""


@pytest.mark.processes
async def test_an_app_that_dies_right_after_its_commit_has_its_run(
    env: Platform, shop: asyncpg.Connection, fresh_url: str, tmp_path: Path
) -> None:
    """Real processes: the app, and a relay that is killed and started again."""
    connection = {name: os.environ[name] for name in ("OUTLAST_API_URL", "OUTLAST_SECRET_KEY")}
    connection["OUTLAST_OUTBOX_DATABASE_URL"] = fresh_url
    died = await asyncio.create_subprocess_exec(sys.executable, "-c", APP, fresh_url)
    assert await died.wait() == -9
    code, listed = await run_outlast("outbox", "list", cwd=tmp_path, **connection)
    assert (code, await rows(shop)) == (0, 1), listed

    with outlast("outbox", "relay", cwd=tmp_path, **connection) as relay:
        await relay.says("Waiting for committed triggers")
        await until_async(lambda: rows(shop), 0)
        relay.kill()
    async with shop.transaction():
        await receipt.trigger(8, connection=shop)
    with outlast("outbox", "relay", cwd=tmp_path, **connection) as relay:
        await until_async(lambda: rows(shop), 0)
        relay.interrupt()
        assert await relay.ended() == 0, relay.output

    results: list[str] = [(await env.result(run)).output for run in await made()]
    assert sorted(results) == ["receipt of 7", "receipt of 8"]
    code, listed = await run_outlast("outbox", "list", cwd=tmp_path, **connection)
    assert "everything is delivered" in listed


async def until_async(look: Callable[[], Awaitable[int]], wanted: int) -> None:
    async with asyncio.timeout(30):
        while await look() != wanted:  # noqa: ASYNC110 - what another process did is polled
            await asyncio.sleep(0.05)
