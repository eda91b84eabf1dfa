"""Waits in an executor: which keep their slot, how tokens are delivered, and in which order."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from outlast import NotFoundError, OutputError, WaitpointTimeoutError, wait
from outlast.protocol.messages import Call, Called, MadeToken
from outlast.protocol.outcomes import Outcome, RunError
from outlast.protocol.triggers import Refusal
from outlast.worker.slot import kept_for
from stage import Server

TOKEN = "waitpoint_1"


class Approval(BaseModel):
    """What an editor says."""

    approved: bool


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    loop = asyncio.get_running_loop()
    server = Server()
    yield server
    server.crash()
    loop.set_task_factory(None)


async def test_a_short_wait_keeps_its_slot_and_a_longer_one_gives_it_back(server: Server) -> None:
    """The long one settles after the short one: when it is parked, the short one has decided."""

    async def short(ctx: Any) -> str:
        await wait.for_(seconds=5)
        return "woken"

    async def long(ctx: Any) -> None:
        await wait.for_(seconds=5.1)

    server.claim(server.task(short), "run_short")
    await server.called("wait:for#0", run="run_short")
    server.claim(server.task(long), "run_long")
    await server.suspended("run_long")

    assert "run_short" not in server.parked
    server.finish("wait:for#0", run="run_short")
    assert await server.end("run_short") == "woken"
    server.finish("wait:for#0", run="run_long")
    await server.end("run_long")


async def test_a_branch_with_a_short_wait_keeps_the_slot_for_all_of_them(server: Server) -> None:
    """Once it is over, what is left waits without one."""

    async def job(ctx: Any) -> None:
        await asyncio.gather(wait.for_(seconds=3), wait.for_(days=1))

    async def other(ctx: Any) -> None:
        await wait.for_(days=1)

    server.claim(server.task(job))
    await server.called("wait:for#0", "wait:for#1")
    server.claim(server.task(other), "run_2")
    await server.suspended("run_2")
    assert "run_1" not in server.parked

    server.finish("wait:for#0")

    assert await server.suspended() == ("wait:for#1",)
    server.finish("wait:for#1")
    await server.end()


async def test_a_short_wait_whose_result_is_lost_gives_its_slot_back(server: Server) -> None:
    async def job(ctx: Any) -> None:
        await wait.for_(seconds=0)

    server.claim(server.task(job))

    assert await server.suspended() == ("wait:for#0",)


@pytest.mark.parametrize(
    ("call", "keeps"),
    [
        (Call("k", "wait", "for", seconds=5.0), True),
        (Call("k", "wait", "for", seconds=5.1), False),
        (Call("k", "wait", "until", until=0.0), True),
        (Call("k", "wait", "until", until=4e9), False),
        (Call("k", "child", "job"), False),
        (Call("k", "token", TOKEN, timeout=1.0), False),
    ],
)
def test_only_waits_for_a_short_time_keep_the_slot(call: Call, keeps: bool) -> None:
    assert (kept_for(call) > 0) is keeps


async def test_a_token_is_waited_for_and_read_as_its_type(server: Server) -> None:
    """Live, and again when the run is replayed elsewhere."""
    seen: list[bool] = []

    async def job(ctx: Any) -> bool:
        approval = await wait.for_token(TOKEN, type=Approval).unwrap()
        seen.append(approval.approved)
        await wait.for_(days=1)
        return approval.approved

    server.claim(server.task(job))
    assert await server.suspended() == (f"token:{TOKEN}#0",)
    server.finish(f"token:{TOKEN}#0", {"approved": True})
    await server.until(lambda: seen)
    await server.suspended()
    server.cold("job")
    await server.suspended()
    server.finish("wait:for#0")

    assert await server.end() is True
    assert seen == [True, True]
    [call, _] = server.calls["run_1"]
    assert (call.kind, call.target) == ("token", TOKEN)


def timed_out(server: Server) -> None:
    error = RunError("timed_out", "WaitpointTimeout", "Waitpoint timed out at noon")
    key = f"token:{TOKEN}#0"
    entry = server.entries["run_1"][key]
    outcome = Outcome(False, error=error)
    server.entries["run_1"][key] = msgspec.structs.replace(entry, outcome=outcome)
    server.claim(server.task_of["run_1"], resume="warm")


async def test_a_token_that_timed_out_is_a_result_with_its_error(server: Server) -> None:
    async def job(ctx: Any) -> list[object]:
        result = await wait.for_token(TOKEN)
        assert isinstance(result.error, WaitpointTimeoutError)
        with pytest.raises(WaitpointTimeoutError, match="timed out at noon"):
            result.unwrap()
        return [result.ok, result.error.kind]

    server.claim(server.task(job))
    await server.suspended()
    timed_out(server)

    assert await server.end() == [False, "timed_out"]


async def test_data_of_another_type_is_an_error_that_shows_no_value(server: Server) -> None:
    async def job(ctx: Any) -> str:
        with pytest.raises(OutputError, match="approved") as raised:
            await wait.for_token(TOKEN, type=Approval)
        return str(raised.value)

    server.claim(server.task(job))
    await server.suspended()
    server.finish(f"token:{TOKEN}#0", {"approved": "hunter2"})

    told = await server.end()
    assert TOKEN in told
    assert "hunter2" not in told


async def test_the_first_of_two_branches_that_wait_wins_again_on_replay(server: Server) -> None:
    """A token in one, time in the other."""

    async def decided() -> str:
        await wait.for_token(TOKEN)
        return "decided"

    async def late() -> str:
        await wait.for_(days=7)
        return "late"

    async def job(ctx: Any) -> str:
        branches = [asyncio.ensure_future(decided()), asyncio.ensure_future(late())]
        done, left = await asyncio.wait(branches, return_when=asyncio.FIRST_COMPLETED)
        for branch in left:
            branch.cancel()
        await wait.for_(days=1)
        [first] = done
        return first.result()

    server.claim(server.task(job))
    keys = await server.suspended()
    [token] = [key for key in keys if "token:" in key]
    [week] = [key for key in keys if "wait:for" in key]
    server.finish(token, None)
    await server.called("wait:for#0")
    await server.suspended()
    server.finish_cold(week, None)  # both are finished when it is replayed
    server.cold("job")
    await server.suspended()
    server.finish("wait:for#0")

    assert await server.end() == "decided"


async def test_a_token_made_in_a_task_is_the_same_on_replay(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = MadeToken(TOKEN, False, "http://x/callback/s", "jwt")
    value = Outcome(True, msgspec.json.encode(made).decode())
    ids: list[str] = []

    async def job(ctx: Any) -> None:
        token = await wait.create_token(timeout="7d", tags="approval", idempotency_key="k")
        ids.append(f"{token.id} {token.url} {token.public_access_token}")
        assert "callback" not in repr(token)
        await wait.for_(days=1)

    answer(server, monkeypatch, Called(outcome=value))
    server.claim(server.task(job))
    await server.suspended()
    server.finish_cold("waitpoint:token[k]#0", None)
    stored = server.entries["run_1"]["waitpoint:token[k]#0"]
    server.entries["run_1"][stored.key] = msgspec.structs.replace(stored, outcome=value, number=1)
    server.cold("job")
    await server.suspended()
    server.finish("wait:for#0")
    await server.end()

    assert ids == [f"{TOKEN} http://x/callback/s jwt"] * 2
    [call, _] = server.calls["run_1"]
    assert call.new is not None
    assert (call.new.timeout, call.new.tags) == (7 * 86_400.0, ("approval",))


def answer(server: Server, monkeypatch: pytest.MonkeyPatch, called: Called) -> None:
    """Answer calls about tokens; others as ever."""
    usual = server._call

    def answered(run: str, entries: dict[str, Any], body: Call) -> Called:
        made = usual(run, entries, body)
        return called if body.kind in {"token", "waitpoint"} else made

    monkeypatch.setattr(server, "_call", answered)


async def test_a_token_of_another_environment_raises_in_the_code(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job(ctx: Any) -> str:
        with pytest.raises(NotFoundError, match="no waitpoint token"):
            await wait.for_token(TOKEN)
        return "not mine"

    answer(server, monkeypatch, Called(refusal=Refusal(404, "not_found", "no waitpoint token")))
    server.claim(server.task(job))

    assert await server.end() == "not mine"


async def test_months_and_years_end_on_the_same_day(server: Server) -> None:
    async def job(ctx: Any) -> None:
        await asyncio.gather(wait.for_(months=1), wait.for_(years=1, days=1))

    server.claim(server.task(job))
    await server.suspended()
    month, year = (datetime.fromtimestamp(c.until or 0, UTC) for c in server.calls["run_1"])
    now = datetime.fromtimestamp(time.time(), UTC)

    assert timedelta(days=27) < month - now < timedelta(days=32)
    assert timedelta(days=365) < year - now < timedelta(days=368)
    server.finish("wait:for#0")
    server.finish("wait:for#1")
