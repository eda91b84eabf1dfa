"""Claims that wait for a dedicated executor: only behind short runs, never lost, never blamed."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from fake_server import FakeServer, claim
from outlast.protocol.frames import Kind, frame
from outlast.protocol.messages import Crash, Empty
from outlast.worker.findings import Findings
from outlast.worker.prefetch import MOST, Prefetch
from polling import until
from worker_rig import Rig, alive, manifest


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with FakeServer() as server:
        rig = Rig(server, tmp_path, processes=1)
        rig.findings = Findings(manifest(dedicated=True))
        async with rig.running():
            yield rig


def test_the_shorter_runs_are_the_more_are_claimed_ahead() -> None:
    seen = []
    for seconds in (1.0, 0.010, 0.0001):
        prefetch = Prefetch()
        for _ in range(100):
            prefetch.ended(seconds)
        seen.append(prefetch.depth)

    assert seen == [0, 8, MOST]


def test_a_long_run_ends_the_prefetching_at_once() -> None:
    prefetch = Prefetch()
    prefetch.ended(0.001)

    assert prefetch.ended(1.0)

    assert prefetch.depth == 0


def test_runs_that_take_now_more_now_less_leave_the_depth_alone() -> None:
    prefetch = Prefetch()
    prefetch.ended(0.0015)

    changes = [prefetch.ended(0.001 if n % 2 else 0.002) for n in range(100)]

    assert not any(changes)
    assert prefetch.depth == MOST


async def test_ends_are_told_before_the_next_starts(rig: Rig) -> None:
    rig.server.acknowledges = False

    await rig.server.push(*(claim(f"run_{n}", "quick", executor="dedicated") for n in range(3)))

    await rig.server.heard(Kind.COMPLETE, "run_2")
    said = [each for each in rig.server.frames if each.kind in (Kind.STARTED, Kind.COMPLETE)]
    assert [(each.kind, each.run) for each in said] == [
        (kind, f"run_{n}") for n in range(3) for kind in (Kind.STARTED, Kind.COMPLETE)
    ]
    assert len({each["pid"] for each in rig.notes("CLAIM")}) == 1


async def test_a_process_that_dies_takes_no_waiting_run_along(rig: Rig) -> None:
    def is_settled(run: str) -> bool:
        # A process starts anew meanwhile: what has waited too long by then goes back.
        return bool(rig.server.said(Kind.COMPLETE, run) or rig.server.said(Kind.GONE, run))

    names = ("run_1", "run_2", "run_3")
    await rig.server.push(
        claim("run_0", "crash", executor="dedicated"),
        *(claim(run, "quick", executor="dedicated") for run in names),
    )

    await until(lambda: all(is_settled(run) for run in names))

    crashes = [
        msgspec.msgpack.decode(each.body, type=Crash) for each in rig.server.said(Kind.CRASH)
    ]
    assert [(each.guilty, [held.run for held in each.runs]) for each in crashes] == [
        ("run_0", ["run_0"])
    ]


async def test_a_run_that_had_not_begun_is_not_blamed_for_the_death_of_its_process(
    rig: Rig,
) -> None:
    await rig.server.push(
        claim("run_0", "last-words", executor="dedicated"),
        claim("run_1", "quick", executor="dedicated"),
    )

    await rig.server.heard(Kind.COMPLETE, "run_0")
    completed = await rig.server.heard(Kind.COMPLETE, "run_1")

    assert completed.token == 1
    assert not rig.server.said(Kind.CRASH)
    assert not rig.server.said(Kind.GONE)


async def test_a_drop_of_a_run_that_has_ended_spares_the_one_that_executes_now(rig: Rig) -> None:
    rig.server.acknowledges = False
    await rig.server.push(
        claim("run_0", "quick", executor="dedicated"), claim("run_1", "hang", executor="dedicated")
    )
    pid = (await rig.noted("CLAIM", "run_1"))["pid"]

    await rig.server.push(frame(Kind.DROP, Empty(), run="run_0", token=1))
    await rig.server.push(frame(Kind.CANCEL, Empty(), run="run_1", token=1))

    await rig.server.heard(Kind.FAIL, "run_1")
    assert alive(pid)
    assert not rig.notes("DROP", "run_0")


async def test_waiting_runs_go_back_when_the_worker_leaves(rig: Rig) -> None:
    await rig.server.push(*(claim(f"run_{n}", "hang", executor="dedicated") for n in range(3)))
    await rig.noted("CLAIM", "run_0")

    rig.stop.set()

    for number in range(3):
        await rig.server.heard(Kind.GONE, f"run_{number}")
    assert not rig.server.said(Kind.CRASH)
    assert not rig.notes("CLAIM", "run_1")
