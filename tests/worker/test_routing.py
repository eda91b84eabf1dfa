"""Runs find their executors, wait, end and crash: over real processes and a scripted server."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from fake_server import FakeServer, claim
from outlast.protocol.frames import Kind, frame
from outlast.protocol.messages import Crash, Empty, Fail, held_digest
from outlast.protocol.vitals import ProcessVitals
from outlast.worker import events, pool, prefetch, routing
from outlast.worker.findings import Findings
from polling import until
from worker_rig import SECRET, Rig, alive, capacity_is, manifest


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        yield server


@pytest.fixture
async def rig(server: FakeServer, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(server, tmp_path)
    async with rig.running():
        yield rig


@pytest.fixture
async def dedicated(server: FakeServer, tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(server, tmp_path)
    rig.findings = Findings(manifest(dedicated=True))
    async with rig.running():
        yield rig


async def test_a_run_starts_and_completes(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "quick"))

    await rig.server.heard(Kind.COMPLETE, "run_1")
    await until(lambda: rig.told(events.RunEnded))

    started, ended = rig.told(events.RunStarted)[0], rig.told(events.RunEnded)[0]
    assert (started.run, started.task) == ("run_1", "quick")
    assert (ended.run, ended.task, ended.ok) == ("run_1", "quick", True)
    assert rig.told(events.Ready)[0].version == "20260101.1"


async def test_executors_are_groups_of_their_own_without_the_key(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLAST_SECRET_KEY", SECRET)
    monkeypatch.setenv("MY_COPY", f"key={SECRET}")
    async with Rig(server, tmp_path, loops=2).running() as rig:
        await capacity_is(server, shared=1000)
        for number in range(4):
            await server.push(claim(f"run_{number}", "hang"))
        await rig.noted("CLAIM", count=4)

    claims = rig.notes("CLAIM")
    assert len({each["pid"] for each in claims}) == 2
    assert len({each["seed"] for each in claims}) == 1
    assert claims[0]["seed"] not in (None, "random")
    assert all(each["secrets"] == [] and each["alone"] for each in claims)


async def test_a_parked_run_resumes_where_it_waits(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "wait"))
    await rig.noted("ACK", "run_1")

    await rig.server.push(claim("run_1", "wait", 2, resume="warm"))

    complete = await rig.server.heard(Kind.COMPLETE, "run_1")
    assert (complete.token, complete.number) == (2, 1)
    assert len({each["pid"] for each in rig.notes("CLAIM")}) == 1


async def test_a_warm_claim_for_nobody_is_gone(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "wait", 7, resume="warm"))

    gone = await rig.server.heard(Kind.GONE, "run_1")
    assert (gone.token, gone.number) == (7, 1)
    assert rig.notes("CLAIM") == []


async def test_a_warm_claim_after_a_lost_acknowledgement_finds_the_run(rig: Rig) -> None:
    rig.server.acknowledges = False
    await rig.server.push(claim("run_1", "wait"))
    await rig.server.heard(Kind.SUSPEND, "run_1")
    rig.server.acknowledges = True

    await rig.server.push(claim("run_1", "wait", 2, resume="warm"))

    await rig.server.heard(Kind.COMPLETE, "run_1")


async def test_a_claim_pushed_twice_is_taken_once(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "hang"), claim("run_1", "hang"))
    await rig.server.push(claim("run_2", "hang"))

    await rig.noted("CLAIM", "run_2")
    assert len(rig.notes("CLAIM", "run_1")) == 1


async def test_heartbeats_carry_the_list_when_it_changed(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "hang", 4))

    def listed() -> list[tuple[str, int]]:
        lists = [each.held for each in rig.server.heartbeats if each.held is not None]
        return [(each.run, each.token) for each in lists[-1]] if lists else []

    await until(lambda: listed() == [("run_1", 4)])
    before = len(rig.server.heartbeats)
    await until(lambda: len(rig.server.heartbeats) > before + 1)
    assert rig.server.heartbeats[-1].held is None
    assert rig.server.heartbeats[-1].digest == "1c8d3520302210ad"  # of run_1:4


async def test_heartbeats_tell_how_the_processes_are(rig: Rig) -> None:
    """Read from the processes themselves: the one that executes says so, and takes memory."""
    await rig.server.push(claim("run_1", "hang"))

    def busy() -> list[ProcessVitals]:
        vitals = rig.server.heartbeats[-1].vitals if rig.server.heartbeats else None
        processes = () if vitals is None else vitals.processes
        return [each for each in processes if each.executing]

    await until(lambda: len(busy()) == 1)
    [process] = busy()
    assert (process.kind, process.executing, process.blocked) == ("shared", 1, False)
    assert process.memory > 1_000_000


async def test_what_a_dying_executor_said_arrives_before_its_crash(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "hang"))
    await rig.noted("CLAIM", "run_1")
    await rig.server.push(claim("run_2", "crash"))

    crash = msgspec.msgpack.decode((await rig.server.heard(Kind.CRASH)).body, type=Crash)

    kinds = [each.kind for each in rig.server.frames]
    assert kinds.index(Kind.CRASH) > max(i for i, kind in enumerate(kinds) if kind == Kind.STEP)
    assert len(rig.server.said(Kind.STEP, "run_2")) == 200
    assert {each.run for each in crash.runs} == {"run_1", "run_2"}
    assert crash.guilty is None
    assert "SIGSEGV" in crash.error.message
    await rig.server.push(claim("run_3", "quick"))
    await rig.server.heard(Kind.COMPLETE, "run_3")


async def test_the_run_that_blocked_its_loop_is_named(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "wait"), claim("run_2", "hang"))
    await rig.noted("ACK", "run_1")
    await rig.server.push(claim("run_3", "blocked"))

    crash = msgspec.msgpack.decode((await rig.server.heard(Kind.CRASH)).body, type=Crash)

    assert crash.guilty == "run_3"
    assert {each.run for each in crash.runs} == {"run_2", "run_3"}
    assert [each.run for each in crash.parked] == ["run_1"]
    assert crash.error.type == "BlockedLoop"


async def test_another_executor_helps_while_a_loop_is_blocked(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "stuck"))
    await rig.noted("CLAIM", "run_1")
    await capacity_is(rig.server, shared=0)

    await rig.server.push(claim("run_2", "quick"))

    await rig.server.heard(Kind.COMPLETE, "run_2")
    (rig.root / "unblocked").touch()
    await rig.server.heard(Kind.STARTED, "run_1")
    await rig.noted("GOODBYE")  # the helper, as nobody needs it any more
    await capacity_is(rig.server, shared=500)
    assert not rig.server.said(Kind.CRASH)


async def test_a_dedicated_executor_dies_alone(dedicated: Rig) -> None:
    await dedicated.server.push(
        claim("run_1", "hang", executor="dedicated"), claim("run_2", "crash", executor="dedicated")
    )

    crash = msgspec.msgpack.decode((await dedicated.server.heard(Kind.CRASH)).body, type=Crash)

    assert crash.guilty == "run_2"
    assert [each.run for each in crash.runs] == ["run_2"]


async def test_dedicated_executors_are_reused(dedicated: Rig) -> None:
    for number in range(4):
        await dedicated.server.push(claim(f"run_{number}", "quick", executor="dedicated"))
        await dedicated.server.heard(Kind.COMPLETE, f"run_{number}")

    assert len({each["pid"] for each in dedicated.notes("CLAIM")}) <= 2


async def test_no_more_than_processes_execute(dedicated: Rig) -> None:
    names = [f"run_{number}" for number in range(3)]
    await dedicated.server.push(*(claim(run, "hang", executor="dedicated") for run in names))
    await dedicated.noted("CLAIM", "run_1")

    await dedicated.server.push(frame(Kind.CANCEL, Empty(), run="run_0", token=1))

    await dedicated.noted("CLAIM", "run_2")
    assert dedicated.notes("CANCEL", "run_0")


async def test_short_runs_are_claimed_ahead_and_follow_before_ends_are_acknowledged(
    dedicated: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "WORTH", 60.0)  # however slow the machine, the run was short
    await dedicated.server.push(claim("run_0", "quick", executor="dedicated"))
    await dedicated.server.heard(Kind.COMPLETE, "run_0")
    await capacity_is(dedicated.server, dedicated=2 * (1 + prefetch.MOST))
    dedicated.server.acknowledges = False

    names = [f"run_{number}" for number in range(1, 9)]
    await dedicated.server.push(*(claim(run, "quick", executor="dedicated") for run in names))

    for run in names:
        await dedicated.server.heard(Kind.COMPLETE, run)


async def test_what_was_claimed_ahead_goes_back_when_a_long_run_is_in_its_way(
    dedicated: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefetch, "WORTH", 60.0)  # however slow the machine, the run was short
    await dedicated.server.push(claim("run_0", "quick", executor="dedicated"))
    await dedicated.server.heard(Kind.COMPLETE, "run_0")
    names = [f"run_{number}" for number in range(1, 4)]
    await dedicated.server.push(*(claim(run, "hang", executor="dedicated") for run in names))

    await dedicated.server.heard(Kind.GONE, "run_3")

    await capacity_is(dedicated.server, dedicated=2)
    kinds = [(each.kind, each.run) for each in dedicated.server.frames]
    assert kinds.index((Kind.GONE, "run_3")) > max(
        place for place, (kind, _) in enumerate(kinds) if kind == Kind.CAPACITY
    )
    assert not dedicated.notes("CLAIM", "run_3")


async def test_a_process_that_dies_after_an_end_is_blamed_on_nobody_else(dedicated: Rig) -> None:
    """The end is kept until it is acknowledged; the run after it is the one that crashed."""
    dedicated.server.acknowledges = False
    await dedicated.server.push(claim("run_0", "quick", executor="dedicated"))
    await dedicated.server.heard(Kind.COMPLETE, "run_0")
    await dedicated.server.push(claim("run_1", "crash", executor="dedicated"))

    crash = msgspec.msgpack.decode((await dedicated.server.heard(Kind.CRASH)).body, type=Crash)

    assert (crash.guilty, [each.run for each in crash.runs]) == ("run_1", ["run_1"])


async def test_a_parked_dedicated_run_keeps_its_process_and_gives_its_place(
    dedicated: Rig,
) -> None:
    for number in range(2):
        await dedicated.server.push(claim(f"run_{number}", "wait", executor="dedicated"))
        await dedicated.noted("ACK", f"run_{number}")
    for number in (2, 3):
        await dedicated.server.push(claim(f"run_{number}", "hang", executor="dedicated"))
        await dedicated.noted("CLAIM", f"run_{number}")

    await dedicated.server.push(claim("run_0", "wait", 2, resume="warm", executor="dedicated"))

    await dedicated.server.heard(Kind.COMPLETE, "run_0")
    assert len({each["pid"] for each in dedicated.notes("CLAIM")}) == 4


async def test_the_longest_parked_process_leaves_first(
    dedicated: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PARKED_PROCESSES", 1)
    for number in range(3):
        await dedicated.server.push(claim(f"run_{number}", "wait", executor="dedicated"))
        await dedicated.noted("ACK", f"run_{number}")

    await dedicated.noted("GOODBYE")
    await dedicated.server.push(claim("run_0", "wait", 2, resume="warm", executor="dedicated"))
    await dedicated.server.push(claim("run_1", "wait", 2, resume="warm", executor="dedicated"))

    await dedicated.server.heard(Kind.GONE, "run_0")
    await dedicated.server.heard(Kind.COMPLETE, "run_1")
    assert not dedicated.server.said(Kind.CRASH)


async def test_a_parked_process_that_leaves_is_no_crash(dedicated: Rig) -> None:
    await dedicated.server.push(claim("run_1", "leave", executor="dedicated"))
    pid = (await dedicated.noted("CLAIM", "run_1"))["pid"]
    await until(lambda: not Path(f"/proc/{pid}").exists())

    await dedicated.server.push(claim("run_1", "leave", 2, resume="warm", executor="dedicated"))

    await dedicated.server.heard(Kind.GONE, "run_1")
    assert not dedicated.server.said(Kind.CRASH)


async def test_a_drop_kills_the_dedicated_process_without_a_word(dedicated: Rig) -> None:
    await dedicated.server.push(claim("run_1", "hang", executor="dedicated"))
    pid = (await dedicated.noted("CLAIM", "run_1"))["pid"]

    await dedicated.server.push(frame(Kind.DROP, Empty(), run="run_1", token=1))

    await until(lambda: not alive(pid))
    await dedicated.server.push(claim("run_2", "quick", executor="dedicated"))
    await dedicated.server.heard(Kind.COMPLETE, "run_2")
    assert not dedicated.server.said(Kind.CRASH)


async def test_a_message_that_fits_no_link_costs_its_own_run(rig: Rig) -> None:
    await rig.server.push(claim("run_1", "huge"), claim("run_2", "quick"))

    await rig.server.heard(Kind.COMPLETE, "run_2")
    failed = await rig.server.heard(Kind.FAIL, "run_1")
    assert "17 MB" in msgspec.msgpack.decode(failed.body, type=Fail).error.message
    await rig.noted("DROP", "run_1")
    assert len(rig.server.hellos) == 1


async def test_a_claim_that_replaces_an_older_one_ends_that(dedicated: Rig) -> None:
    await dedicated.server.push(claim("run_1", "hang", executor="dedicated"))
    pid = (await dedicated.noted("CLAIM", "run_1"))["pid"]

    await dedicated.server.push(claim("run_1", "quick", 2, resume="cold", executor="dedicated"))

    complete = await dedicated.server.heard(Kind.COMPLETE, "run_1")
    assert complete.token == 2
    await until(lambda: not alive(pid))
    assert not dedicated.server.said(Kind.CRASH)


async def test_long_parked_runs_retire_their_executor(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PARKED_RUNS", 2)
    async with Rig(server, tmp_path, warm_wait=0.0).running() as rig:
        await server.push(claim("run_1", "wait"), claim("run_2", "wait"))
        await rig.noted("GOODBYE")
        await server.push(claim("run_1", "wait", 2, resume="warm"), claim("run_3", "quick"))

        await server.heard(Kind.GONE, "run_1")
        await server.heard(Kind.COMPLETE, "run_3")
        await until(lambda: server.heartbeats[-1].digest == held_digest(()))

    assert len({each["pid"] for each in rig.notes("CLAIM")}) == 2
    assert not server.said(Kind.CRASH)


async def test_a_worn_dedicated_executor_is_replaced(
    dedicated: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "REUSES", 2)
    for number in range(5):
        await dedicated.server.push(claim(f"run_{number}", "quick", executor="dedicated"))
        await dedicated.server.heard(Kind.COMPLETE, f"run_{number}")

    pids = [each["pid"] for each in dedicated.notes("CLAIM")]
    assert max(map(pids.count, pids)) == 2
    assert not dedicated.server.said(Kind.CRASH)


async def test_a_dedicated_executor_that_has_grown_is_replaced(
    dedicated: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "GROWN_BYTES", -1)
    for number in range(3):
        await dedicated.server.push(claim(f"run_{number}", "quick", executor="dedicated"))
        await dedicated.server.heard(Kind.COMPLETE, f"run_{number}")

    assert len({each["pid"] for each in dedicated.notes("CLAIM")}) == 3
    assert not dedicated.server.said(Kind.CRASH)


async def test_an_executor_ahead_of_the_servers_waits_and_loses_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "_MOST_UNSENT", 20_000)
    rig.server.acknowledges = False
    await rig.server.push(claim("run_1", "crash"))
    await rig.server.heard(Kind.STEP, "run_1", count=10)
    rig.server.acknowledges = True
    rig.server.sockets[-1].transport.abort()

    await rig.server.heard(Kind.CRASH)

    numbers = {each.number for each in rig.server.said(Kind.STEP, "run_1")}
    assert numbers == set(range(2, 202))
