"""What happens is noted where it happens, and told at least once to whoever wants to know."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from engines import Clock, Platform, ended_and_told, platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.alerts import ALERTS, MOST_ALERTS, Alert
from outlast.engine.deliveries import (
    FIRST_SECONDS,
    MOST_SINGLE,
    PATIENCE_SECONDS,
    Deliveries,
    Notice,
    Undelivered,
)
from outlast.engine.engine import Engine
from outlast.engine.errors import InvalidRequest, NotFound
from outlast.engine.turn import Ending, Item, Overtime, play
from outlast.protocol.alerts import AlertType, Channel
from outlast.protocol.triggers import Trigger

FAILED: AlertType = "alert.run.failed"
EVERY: tuple[AlertType, ...] = (FAILED, "alert.error", "alert.deployment.success")

LOOKS = (
    "select coalesce(sum(seq_scan + idx_scan), 0)::int"
    " from pg_stat_xact_user_tables where relname = 'alert'"
)


class Bell:
    """Takes notices instead of an address."""

    def __init__(self) -> None:
        self.rung: list[Notice] = []
        self.broken: set[str] = set()
        self.closed: asyncio.Event | None = None

    async def __call__(self, notice: Notice) -> bool:
        if self.closed is not None and notice.destination.name == "slow":
            await self.closed.wait()
        if notice.destination.name in self.broken:
            raise Undelivered("the address answered 500")
        self.rung.append(notice)
        return True


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def place(fresh_url: str, clock: Clock) -> AsyncIterator[Platform]:
    """Return an environment whose durable time the test owns."""
    async with platform(fresh_url, clock=clock) as made:
        yield made


@pytest.fixture
async def worker(place: Platform, engine: Engine) -> FakeWorker:
    return await FakeWorker.open(engine, place.environment, manifest("mail"))


@pytest.fixture
def deliveries(engine: Engine, bell: Bell, clock: Clock) -> Deliveries:
    return told_by(engine, bell, clock)


def told_by(engine: Engine, send: Callable[[Notice], Awaitable[bool]], clock: Clock) -> Deliveries:
    return Deliveries(engine.database, alerts=engine.alerts, send=send, clock=clock)


async def make(
    place: Platform,
    engine: Engine,
    name: str = "a",
    *,
    types: Sequence[AlertType] = (FAILED,),
    channel: Channel = "webhook",
    address: str = "https://example.com/hook?key=mulberry",
) -> Alert:
    made, _ = await engine.alerts.create(
        place.environment.id, name=name, channel=channel, address=address, types=types
    )
    return made


async def claimed(place: Platform, engine: Engine, worker: FakeWorker) -> Claimed:
    [made] = await engine.trigger(place.environment, [Trigger(task="mail", payload="null")])
    return await worker.claim(made.run_id)


async def fail(place: Platform, engine: Engine, worker: FakeWorker, message: str = "boom") -> str:
    claim = await claimed(place, engine, worker)
    claim.fail(message)
    await ended_and_told(engine, place.environment.id, claim.run)
    return claim.run


async def noted(place: Platform) -> list[tuple[str, str, str]]:
    rows = await place.sql("select type, subject, detail from outlast.alert_due order by id")
    return [tuple(row) for row in rows]


async def pour(place: Platform, alert: Alert, count: int) -> None:
    """Let so many runs fail at once, as far as an alert can see."""
    await place.sql(
        "insert into outlast.alert_due"
        " (alert_id, environment_id, type, subject, detail, occurred_at, due_at)"
        " select $1, $2, $3, 'run_' || n, 'failed', m.at, m.at"
        " from generate_series(1, $4::int) n, (select timestamptz '2026-01-01Z' as at) m",
        alert.id,
        place.environment.id,
        FAILED,
        count,
    )


async def deliver(*deliveries: Deliveries) -> None:
    await asyncio.gather(*(one.run_once() for one in deliveries))
    await asyncio.gather(*(one.settle() for one in deliveries))


async def test_a_failed_run_is_noted_once_for_each_alert_that_wants_it(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    await make(place, engine)
    await make(place, engine, "other", types=("alert.deployment.success",))
    off = await make(place, engine, "off")
    await engine.alerts.change(place.environment.id, off.id, enabled=False)

    run = await fail(place, engine, worker)
    (await claimed(place, engine, worker)).complete()
    (await claimed(place, engine, worker)).fail(retry_in=3600.0)

    assert await noted(place) == [(FAILED, run, "failed")]


async def test_a_turn_that_is_rolled_back_notes_nothing_and_one_without_failures_looks_nowhere(
    place: Platform, engine: Engine, worker: FakeWorker, clock: Clock
) -> None:
    """Every way to fail passes the same place: ends that are told, and ends by force."""
    await make(place, engine)
    claim = await claimed(place, engine, worker)

    async def played(item: Item) -> tuple[list[str], int]:
        """Play a turn without a commit; return what it noted, and how often alerts were read."""
        async with engine.database.acquire() as executor:
            transaction = executor.connection.transaction()
            await transaction.start()
            before = await executor.connection.fetchval(LOOKS)
            await play(
                executor,
                place.environment.id,
                [item],
                pools=(),
                homes=(),
                server="server-x",
                clock=clock(),
            )
            rows = await executor.connection.fetch("select detail from outlast.alert_due")
            looks = await executor.connection.fetchval(LOOKS) - before
            await transaction.rollback()
        return [row["detail"] for row in rows], looks

    def ending(status: str) -> Ending:
        error = None if status == "completed" else '{"kind":"raised","type":"E","message":"no"}'
        return Ending(run=claim.run, token=claim.token, status=status, error=error)

    for status in ("completed", "canceled"):
        assert await played(ending(status)) == ([], 0)
    for status in ("failed", "crashed", "system_failure", "timed_out"):
        assert await played(ending(status)) == ([status], 1)
    assert await played(Overtime(run=claim.run, token=claim.token)) == (["timed_out"], 1)
    assert await noted(place) == []


async def test_an_error_is_told_when_it_is_new_and_when_it_comes_back(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    await make(place, engine, types=("alert.error",))

    async def failed() -> None:
        await fail(place, engine, worker, "no such customer 17")
        await engine.activity.flush()

    await failed()
    await failed()
    [group] = await engine.failures.groups(place.environment.id)
    await engine.failures.mark(place.environment.id, group.fingerprint, "resolved")
    await failed()
    await engine.failures.mark(place.environment.id, group.fingerprint, "ignored")
    await failed()

    found = group.fingerprint
    assert await noted(place) == [("alert.error", found, "new"), ("alert.error", found, "back")]


async def test_a_new_version_is_told_and_the_return_of_a_known_one_is_not(
    place: Platform, engine: Engine
) -> None:
    await make(place, engine, types=("alert.deployment.success",))

    for digest in ("a", "b", "a"):
        await engine.catalogue.register(place.environment.id, manifest("mail", digest=digest))

    names = [detail for _, _, detail in await noted(place)]
    assert [name.partition(".")[2] for name in names] == ["1", "2"]


async def test_two_servers_tell_it_once(
    place: Platform, engine: Engine, bell: Bell, clock: Clock
) -> None:
    alert = await make(place, engine)
    await pour(place, alert, 20)
    other = await place.server()

    both = told_by(engine, bell, clock), told_by(other, bell, clock)
    for _ in range(5):
        await deliver(*both)

    assert Counter(notice.subject for notice in bell.rung).most_common(1)[0][1] == 1
    assert len(bell.rung) == 20
    found = await engine.alerts.retrieve(place.environment.id, alert.id)
    assert (found.waiting, found.delivered_at, found.last_error) == (0, clock(), None)


async def test_what_a_dead_server_took_is_told_by_another(
    place: Platform, engine: Engine, bell: Bell, clock: Clock
) -> None:
    alert = await make(place, engine, "slow")
    await pour(place, alert, 1)
    bell.closed = asyncio.Event()
    dying, living = told_by(engine, bell, clock), told_by(engine, bell, clock)

    await dying.run_once()
    await dying.close()
    bell.closed.set()
    await deliver(living)
    assert bell.rung == []

    clock.advance(120)
    await deliver(living)
    assert [notice.subject for notice in bell.rung] == ["run_1"]


async def test_an_address_that_fails_is_tried_ever_more_rarely_and_given_up_after_a_day(
    place: Platform, engine: Engine, deliveries: Deliveries, bell: Bell, clock: Clock
) -> None:
    alert = await make(place, engine)
    await pour(place, alert, 1)
    bell.broken = {"a"}

    async def due() -> float:
        [row] = await place.sql("select due_at from outlast.alert_due")
        return float((row["due_at"] - clock()).total_seconds())

    waits: list[float] = []
    while await noted(place):
        await deliver(deliveries)
        if await noted(place):
            waits.append(await due())
            clock.advance(waits[-1])

    assert waits[:4] == [FIRST_SECONDS, 20.0, 40.0, 80.0]
    assert max(waits) == waits[-1] == 3600.0
    assert PATIENCE_SECONDS <= sum(waits) < PATIENCE_SECONDS + 3600
    found = await engine.alerts.retrieve(place.environment.id, alert.id)
    assert (found.waiting, found.delivered_at) == (0, None)
    assert found.last_error == "given up: the address answered 500"


async def test_an_address_that_is_well_again_is_told_and_its_error_forgotten(
    place: Platform, engine: Engine, deliveries: Deliveries, bell: Bell, clock: Clock
) -> None:
    alert = await make(place, engine)
    await pour(place, alert, 1)
    bell.broken = {"a"}
    await deliver(deliveries)
    failing = await engine.alerts.retrieve(place.environment.id, alert.id)
    assert (failing.waiting, failing.last_error) == (1, "the address answered 500")

    bell.broken = set()
    clock.advance(FIRST_SECONDS)
    await deliver(deliveries)

    found = await engine.alerts.retrieve(place.environment.id, alert.id)
    assert (found.waiting, found.last_error, len(bell.rung)) == (0, None, 1)


async def test_a_slow_address_holds_up_no_other(
    place: Platform, engine: Engine, deliveries: Deliveries, bell: Bell
) -> None:
    bell.closed = asyncio.Event()
    slow, quick = await make(place, engine, "slow"), await make(place, engine, "quick")
    await pour(place, slow, 30)
    await pour(place, quick, 20)

    async with asyncio.timeout(10):
        while len(bell.rung) < 20:
            await deliveries.run_once()
            await asyncio.sleep(0.01)
    bell.closed.set()
    await deliveries.settle()

    assert [notice.destination.name for notice in bell.rung[:20]] == ["quick"] * 20


async def test_of_a_burst_a_hundred_are_told_one_by_one_and_the_rest_as_one(
    place: Platform, engine: Engine, deliveries: Deliveries, bell: Bell
) -> None:
    """Nothing is lost from the count, also not what happens while the rest is being told."""
    alert = await make(place, engine)
    await pour(place, alert, 3_000)
    while await noted(place):
        await deliver(deliveries)
        found = await engine.alerts.retrieve(place.environment.id, alert.id)
        assert found.waiting + sum(notice.count for notice in bell.rung) == 3_000

    *single, rest = sorted(notice.count for notice in bell.rung)
    assert set(single) == {1}
    assert MOST_SINGLE <= len(single) <= MOST_SINGLE + 5  # some may go before it is folded
    assert rest == 3_000 - len(single)
    assert len({notice.id for notice in bell.rung}) == len(bell.rung)


async def test_what_is_folded_in_while_the_rest_is_being_told_is_told_next(
    place: Platform, engine: Engine, deliveries: Deliveries, bell: Bell
) -> None:
    alert = await make(place, engine, "slow")
    bell.closed = asyncio.Event()
    await pour(place, alert, MOST_SINGLE + 5)
    await engine.database.execute(ALERTS.fold, most=MOST_SINGLE)
    await place.sql("update outlast.alert_due set due_at = '2027-01-01Z' where folded is null")

    await deliveries.run_once()
    await pour(place, alert, 7)
    await engine.database.execute(ALERTS.fold, most=MOST_SINGLE)
    bell.closed.set()
    await deliveries.settle()
    await deliver(deliveries)

    assert [notice.count for notice in bell.rung] == [5, 7]
    assert len(await noted(place)) == MOST_SINGLE


async def test_a_disabled_alert_is_silent_and_forgets_what_it_had_to_tell(
    place: Platform, engine: Engine, deliveries: Deliveries, bell: Bell
) -> None:
    alert = await make(place, engine)
    await pour(place, alert, 3)

    for enabled in (False, True):
        await engine.alerts.change(place.environment.id, alert.id, enabled=enabled)
        await deliver(deliveries)

    assert bell.rung == []


async def test_a_deleted_alert_takes_with_it_what_it_had_to_tell(
    place: Platform, engine: Engine, deliveries: Deliveries
) -> None:
    alert, other = await make(place, engine), await make(place, engine, "b")
    await pour(place, alert, 3)
    await pour(place, other, 1)

    await engine.alerts.delete(place.environment.id, alert.id)
    assert len(await noted(place)) == 1
    await pour(place, alert, 1)  # a turn at the same moment
    await deliveries.prune()

    assert len(await noted(place)) == 1
    with pytest.raises(NotFound):
        await engine.alerts.delete(place.environment.id, alert.id)


async def test_no_address_and_no_secret_lies_in_the_clear(place: Platform, engine: Engine) -> None:
    made, secret = await engine.alerts.create(
        place.environment.id,
        name="a",
        channel="webhook",
        address="https://example.com/hook?key=mulberry",
        types=EVERY,
    )
    assert secret is not None
    [row] = await place.sql("select a::text from outlast.alert a")

    for hidden in ("mulberry", secret):
        assert hidden not in row[0]
        assert hidden.encode().hex() not in row[0]
    assert made.shown_address == "example.com/hook"
    found = await engine.alerts.destination(place.environment.id, made.id)
    assert (found.address, found.secret) == ("https://example.com/hook?key=mulberry", secret)
    assert "mulberry" not in f"{found!r} {found}"


@pytest.mark.parametrize(
    ("channel", "address"),
    [
        ("webhook", "ftp://example.com"),
        ("webhook", "https://"),
        ("webhook", "https://ada:pw@example.com/"),
        ("webhook", "https://example.com/\r\nx: y"),
        ("webhook", "https://example.com:99999/"),
        ("slack", "hooks.slack.com/services/x"),
        ("email", "ada"),
        ("email", "ada@example.com\nbcc: eve@example.com"),
        ("email", "ada@example.com, eve@example.com"),
    ],
)
async def test_what_is_no_address_is_refused(
    place: Platform, engine: Engine, channel: Channel, address: str
) -> None:
    with pytest.raises(InvalidRequest):
        await make(place, engine, channel=channel, address=address)


async def test_an_environment_has_so_many_alerts_and_no_more(
    place: Platform, engine: Engine
) -> None:
    for number in range(MOST_ALERTS):
        await make(place, engine, str(number))

    with pytest.raises(InvalidRequest, match="at most"):
        await make(place, engine, "one too many")
