"""Every form of the SDK, in a real project, with each run made cold at every wait."""

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from outlast import RunCanceled, RunFailed, runs, tasks
from programs import Program

pytestmark = [pytest.mark.processes, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("forms")
    (root / "trigger").mkdir()
    (root / "pyproject.toml").write_text(
        '[tool.outlast]\nproject = "proj_forms"\nretries = { enabled_in_dev = true }\n'
    )
    shutil.copy(Path(__file__).with_name("forms.py"), root / "trigger" / "forms.py")
    return root


@pytest.fixture
def dev_options() -> tuple[str, ...]:
    """Go cold at every wait."""
    return ("--replay-always",)


async def test_every_form_gives_on_replay_what_it_gave_live(app: Program) -> None:
    """In `async def` and `def` alike, with a handle that waits, keys, lanes and a delay."""
    in_async, in_def, keyed = [
        await tasks.trigger(name) for name in ("all-async", "all-def", "keys")
    ]
    lanes = [
        await tasks.trigger("laned", {}, concurrency_key=key, delay=timedelta(seconds=0.1))
        for key in "aabb"
    ]

    found = await in_async.result(timeout=60)
    assert found["context"] == [1, "all-async", "task/all-async", "dev"]
    assert (found["handles"], found["waited"]) == (4, [4, 20, 22, 24, 26])
    assert (found["batch"], found["gathered"]) == ([True, False], [0, 1, 2])
    assert found["mapped"] == [40, 42, 44, 46, 48]
    assert found["failed"][0] is False
    assert found["failed"][3] == "ZeroDivisionError"
    assert all("AbortTaskRunError: asked to at" in text for text in found["failed"][1:3])
    detail = await runs.retrieve(in_async.id)
    assert detail.tags == ("from-async",)
    assert detail.metadata is not None
    assert detail.metadata["phase"] == found["phase"] == "ended"

    found = await in_def.result(timeout=60)
    assert (found["handles"], found["waited"], found["made"]) == (4, [4, 16], [1, 2])
    assert (found["batch"], found["mapped"]) == ([True, False], [40, 42, 44, 46, 48])
    assert (await runs.retrieve(in_def.id)).tags == ("from-def",)

    first, second = await keyed.result(timeout=60)
    assert all(len(set(ids)) == 1 for ids in (*first.values(), *second.values()))
    assert (first["run"], first["global"]) == (second["run"], second["global"])
    assert first["attempt"] != second["attempt"]

    spans = await asyncio.gather(*(lane.result(timeout=60) for lane in lanes))
    a, b = sorted(spans[:2]), sorted(spans[2:])
    assert a[0][1] <= a[1][0]
    assert b[0][1] <= b[1][0]
    assert "NonDeterministicReplayError" not in app.output


async def test_what_cannot_be_serialised_fails_its_run_and_no_other(app: Program) -> None:
    """With words for it; the worker goes on."""
    for what in ("output", "nan", "step", "metadata", "child"):
        handle = await tasks.trigger("no-json", what)
        with pytest.raises(RunFailed, match=r"no JSON form|not a finite number|cannot be stored"):
            await handle.result(timeout=30)

    assert await (await tasks.trigger("nothing")).result(timeout=30) is None
    assert "died" not in app.output
    handle = await tasks.trigger("nothing", delay="1h")

    with pytest.raises(TimeoutError, match="has not ended yet; it goes on"):
        await handle.result(timeout=0.2)
    await handle.cancel()

    with pytest.raises(RunCanceled):
        await handle.result(timeout=10)
