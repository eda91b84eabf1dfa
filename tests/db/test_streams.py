"""Streams in the engine: chunks that count once, readers that are woken, messages in order."""

import asyncio

import pytest

from engines import Platform
from fake_worker import Claimed, FakeWorker, manifest
from outlast.engine.engine import Engine
from outlast.engine.errors import Conflict, InvalidRequest, NotFound
from outlast.protocol.frames import Kind
from outlast.protocol.messages import Delivered, Empty
from outlast.protocol.outcomes import Outcome
from outlast.protocol.streams import Append, Appended, Chunk
from outlast.protocol.triggers import Trigger
from polling import until


@pytest.fixture
async def worker(place: Platform, engine: Engine) -> FakeWorker:
    return await FakeWorker.open(engine, place.environment, manifest("job"))


async def started(worker: FakeWorker) -> Claimed:
    [made] = await worker.engine.trigger(worker.environment, [Trigger(task="job")])
    return await worker.claim(made.run_id)


def chunk(ordinal: int, data: str = "", *, key: str = "log", target: str = "self") -> Chunk:
    return Chunk("", ordinal, key, data or str(ordinal), target)


async def append(run: Claimed, *chunks: Chunk) -> tuple[str, ...]:
    """Append chunks; return what was left out."""
    return (await run.ack(run.send(Kind.APPEND, Append(chunks)), Appended)).problems


async def stored(engine: Engine, run: str, key: str = "log", start: int = 0) -> list[str]:
    """Return the chunks that are there now."""
    async for found in engine.streams.read(run, key, start=start, patience=0.01):
        return [read.data for read in found]
    return []


def entry_of(run: Claimed, key: str) -> Outcome:
    [outcome] = [entry.outcome for entry in run.claim.entries if entry.key == key]
    assert outcome is not None
    return outcome


async def send(engine: Engine, place: Platform, run: str, *texts: str, key: str = "in") -> None:
    for text in texts:
        await engine.streams.send(place.environment.id, run, key, text, message=f"id-{text}")


async def wait(run: Claimed, n: int = 0, **options: object) -> str:
    """Make the entry that waits for the next message; return its key."""
    key = f"stream:in#{n}"
    await run.call(key, "stream", target="in", **options)
    return key


# ── chunks ────────────────────────────────────────────────────────────────────────────────────


async def test_chunks_are_read_in_the_order_they_were_appended(
    engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)

    assert await append(run, chunk(1), chunk(2)) == ()
    assert await append(run, chunk(3), chunk(4, key="other")) == ()

    assert await stored(engine, run.run) == ["1", "2", "3"]
    assert await stored(engine, run.run, start=2) == ["3"]
    assert await stored(engine, run.run, "other") == ["4"]
    assert await engine.streams.keys_of([run.run]) == {run.run: ("log", "other")}
    assert await engine.streams.next_index(run.run, "log") == 3


async def test_a_chunk_counts_once_however_often_it_is_delivered(
    engine: Engine, worker: FakeWorker
) -> None:
    """A replay repeats positions, a link that broke repeats frames; both know where they were."""
    run = await started(worker)
    await append(run, chunk(1), chunk(2))

    await append(run, chunk(1, '"again"'), chunk(2, '"again"'), chunk(3))

    assert await stored(engine, run.run) == ["1", "2", "3"]


async def test_a_cold_resume_knows_how_far_its_streams_have_got_and_a_new_attempt_begins_anew(
    engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    await append(run, chunk(1), Chunk("~t#0", 7, "log", '"seven"'))
    await run.call("wait:w#0", "wait", seconds=0.0)
    await run.result("wait:w#0")
    worker.forget(run)
    run.send(Kind.GONE, Empty())
    cold = await worker.claim(run.run)

    assert cold.claim.chunks == {"": 1, "~t#0": 7}
    cold.fail(retry_in=0.0)
    again = await worker.claim(run.run)
    await append(again, chunk(1, '"second attempt"'))

    assert again.claim.chunks == {}
    assert await stored(engine, run.run) == ["1", '"seven"', '"second attempt"']


async def test_a_stale_token_appends_nothing(engine: Engine, worker: FakeWorker) -> None:
    run = await started(worker)
    run.token += 1

    assert await append(run, chunk(1)) == ()

    assert await stored(engine, run.run) == []


async def test_a_run_writes_to_streams_of_its_parent_its_root_and_any_run_that_goes_on(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    parent = await started(worker)
    called = await parent.call("child:job#0", "child", Trigger(task="job"))
    child = await worker.claim(called.runs[0].run_id)
    other = await started(worker)
    ended = await started(worker)
    ended.complete()
    assert await engine.ends.wait(place.environment.id, ended.run, 5)

    problems = await append(
        child,
        chunk(1, target="parent"),
        chunk(2, target="root"),
        chunk(3, target=other.run),
        chunk(4, target=ended.run),
        chunk(5, target="run_none"),
        chunk(6),
    )

    assert await stored(engine, parent.run) == ["1", "2"]
    assert await stored(engine, other.run) == ["3"]
    assert await stored(engine, child.run) == ["6"]
    assert [problem.partition(": ")[2] for problem in problems] == [
        "the run has ended",
        "there is no such run in its environment",
    ]
    assert f"of run {ended.run}" in problems[0]


async def test_what_is_too_large_is_left_out_and_said(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    await append(run, chunk(1))
    large = f'"{"x" * 512 * 1024}"'

    too_large = await append(run, chunk(2, large), chunk(3))
    await place.sql("update outlast.stream set bytes = 300 * 1024 * 1024 - 3")
    full = await append(run, chunk(4, "12345"), chunk(5))

    assert ["512 KB" in problem for problem in too_large] == [True]
    assert ["300 MiB" in problem for problem in full] == [True]
    assert await stored(engine, run.run) == ["1", "3"]


async def test_a_reader_gets_chunks_as_they_come_and_ends_with_the_run(
    engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    seen: list[str] = []

    async def read() -> None:
        async for found in engine.streams.read(run.run, "log", patience=30):
            seen.extend(each.data for each in found)

    reader = asyncio.create_task(read())
    for ordinal in (1, 2):
        await append(run, chunk(ordinal))
        await until(lambda n=ordinal: len(seen) == n, what="the chunk")  # type: ignore[misc]
    await append(run, chunk(3))
    run.complete()

    await asyncio.wait_for(reader, 10)
    assert seen == ["1", "2", "3"]
    assert engine.streams._feeds._readers == {}


async def test_a_reader_on_another_server_hears_of_it(place: Platform, worker: FakeWorker) -> None:
    other = await place.server()
    run = await started(worker)
    seen: list[str] = []

    async def read() -> None:
        async for found in other.streams.read(run.run, "log", patience=30):
            seen.extend(each.data for each in found)

    reader = asyncio.create_task(read())
    await until(lambda: bool(other.streams._feeds._readers), what="the reader")
    await append(run, chunk(1))
    await until(lambda: seen == ["1"], what="the chunk")
    run.complete()
    await asyncio.wait_for(reader, 10)


async def test_a_stream_of_many_chunks_is_read_whole(engine: Engine, worker: FakeWorker) -> None:
    """In portions: of 200 chunks, of a megabyte."""
    run = await started(worker)
    await append(run, *(chunk(n) for n in range(1, 501)))
    await append(run, *(chunk(n, f'"{"x" * 400_000}"') for n in range(501, 506)))
    run.complete()

    portions = [
        [each.index for each in found]
        async for found in engine.streams.read(run.run, "log", patience=5)
        if found
    ]

    assert [index for portion in portions for index in portion] == list(range(505))
    assert max(map(len, portions)) == 200


async def test_a_write_that_the_database_refuses_fails_its_run_only(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    bad, good = await started(worker), await started(worker)

    bad.send(Kind.APPEND, Append((chunk(1, "a\x00"),)))
    await append(good, chunk(1))

    assert await worker.dropped(bad.run) == bad.token
    assert await stored(engine, good.run) == ["1"]


# ── messages ──────────────────────────────────────────────────────────────────────────────────


async def test_a_message_resumes_the_run_that_waits_for_it(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    key = await wait(run)
    assert await run.suspend(key)

    await send(engine, place, run.run, '"yes"')
    resumed = await worker.claim(run.run)

    assert entry_of(resumed, key) == Outcome(True, '"yes"')
    assert await place.sql("select from outlast.waiter") == []


async def test_messages_are_kept_until_they_are_received_each_once_in_order(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    await send(engine, place, run.run, "1", "2")

    first = await run.result(await wait(run, 0))
    await send(engine, place, run.run, "3")
    rest = [await run.result(await wait(run, n)) for n in (1, 2)]
    last = await wait(run, 3)

    assert [outcome.value for outcome in (first, *rest)] == ["1", "2", "3"]
    assert await run.suspend(last)
    assert [read.data for read in await engine.streams.messages(run.run, "in")] == ["1", "2", "3"]


async def test_branches_that_wait_get_one_message_each(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    keys = [await wait(run, n) for n in (0, 1)]

    await send(engine, place, run.run, "1", "2")

    assert [(await run.result(key)).value for key in keys] == ["1", "2"]


async def test_a_repeated_request_sends_one_message(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)

    await send(engine, place, run.run, "1", "1")

    assert [read.data for read in await engine.streams.messages(run.run, "in")] == ["1"]


async def test_a_wait_that_timed_out_takes_no_message(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    key = await wait(run, 0, timeout=3600.0)
    assert await run.suspend(key)
    await place.sql("update outlast.timer set due_at = now() where kind = 'timeout'")
    engine.cycles.wake(place.environment.id)
    resumed = await worker.claim(run.run)
    late = entry_of(resumed, key)

    await send(engine, place, run.run, "1")

    assert late.error is not None
    assert late.error.kind == "timed_out"
    assert (await resumed.result(await wait(resumed, 1))).value == "1"


async def test_a_message_for_a_wait_that_the_code_gave_up_goes_to_the_next_one(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    """Also when it had come already, and the code had not heard of it."""
    run = await started(worker)
    given_up, crossed = await wait(run, 0), await wait(run, 1)
    await run.ack(run.send(Kind.DELIVERED, Delivered((), (given_up,))), Empty)
    await send(engine, place, run.run, "1")
    assert (await run.result(crossed)).value == "1"
    await run.ack(run.send(Kind.DELIVERED, Delivered((), (crossed,))), Empty)

    assert (await run.result(await wait(run, 2))).value == "1"


async def test_a_message_that_crossed_the_giving_up_of_its_wait_reaches_a_wait_made_before(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    """It had been handed to the wait before the engine heard that nobody listens there."""
    run = await started(worker)
    given_up, other = await wait(run, 0), await wait(run, 1)
    await send(engine, place, run.run, "1")
    assert (await run.result(given_up)).value == "1"
    run.send(Kind.DELIVERED, Delivered((), (given_up,)))

    assert (await run.result(other)).value == "1"


async def test_a_run_that_sleeps_is_woken_by_a_message_that_crossed_the_giving_up_of_a_wait(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    given_up, other = await wait(run, 0), await wait(run, 1)
    await send(engine, place, run.run, "1")
    run.send(Kind.DELIVERED, Delivered((), (given_up,)))

    if await run.suspend(other):
        resumed = await worker.claim(run.run)
        assert entry_of(resumed, other) == Outcome(True, "1")
    else:
        assert (await run.result(other)).value == "1"


async def test_a_look_into_the_buffer_leaves_the_message_there(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    await run.call("peek:in#0", "peek", target="in")
    nothing = await run.result("peek:in#0")
    await send(engine, place, run.run, "1")

    await run.call("peek:in#1", "peek", target="in")

    assert nothing == Outcome(True)
    assert (await run.result("peek:in#1")).value == "1"
    assert (await run.result(await wait(run))).value == "1"


async def test_what_cannot_be_received_is_refused(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    run = await started(worker)
    full = await started(worker)
    await send(engine, place, full.run, "0")
    await place.sql("update outlast.input_stream set bytes = 300 * 1024 * 1024")
    run.complete()
    assert await engine.ends.wait(place.environment.id, run.run, 5)

    with pytest.raises(Conflict, match=f"run {run.run} has ended"):
        await send(engine, place, run.run, "1")
    with pytest.raises(NotFound):
        await send(engine, place, "run_none", "1")
    with pytest.raises(InvalidRequest, match="300 MiB"):
        await send(engine, place, full.run, "1")
    with pytest.raises(InvalidRequest, match="1 MB"):
        await send(engine, place, full.run, f'"{"x" * 1024 * 1024}"')
    with pytest.raises(InvalidRequest, match="key"):
        await send(engine, place, full.run, "1", key="a/b")


async def test_messages_to_many_streams_and_runs_keep_apart(
    place: Platform, engine: Engine, worker: FakeWorker
) -> None:
    runs = [await started(worker) for _ in range(3)]
    keys = [await wait(run) for run in runs]

    await asyncio.gather(
        *(send(engine, place, run.run, f'"{n}"') for n, run in enumerate(runs)),
        *(send(engine, place, run.run, '"elsewhere"', key="other") for run in runs),
    )

    told = [await run.result(key) for run, key in zip(runs, keys, strict=True)]
    assert [outcome.value for outcome in told] == ['"0"', '"1"', '"2"']
