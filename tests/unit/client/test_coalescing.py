"""Concurrent triggers share requests, and nothing else."""

import asyncio
import contextvars
import os
import threading
import time
from collections import Counter

import pytest

from fake_api import Answer, Asked, FakeServer, encode
from outlast.client import clients, coalescer, triggers
from outlast.client.errors import ApiError, TransportError, UnprocessableError
from outlast.protocol.triggers import Refusal, Trigger, Triggered


def wanted(number: int, size: int = 0) -> Trigger:
    return Trigger(task="t", payload=f"{number}{' ' * size}", request_key=f"key-{number}")


async def test_what_happens_at_once_is_sent_at_once(server: FakeServer) -> None:
    server.accept_triggers()

    made = await asyncio.gather(*(clients.send_trigger(wanted(number)) for number in range(300)))

    assert [one.run_id for one in made] == [f"run_{number}" for number in range(300)]
    assert sorted(len(asked.triggers()) for asked in server.asked) == [44, 256]
    keys = Counter(one.request_key for asked in server.asked for one in asked.triggers())
    assert set(keys.values()) == {1}


async def test_a_request_stays_below_a_megabyte(server: FakeServer) -> None:
    server.accept_triggers()

    await asyncio.gather(*(clients.send_trigger(wanted(n, 300_000)) for n in range(7)))

    assert sorted(len(asked.triggers()) for asked in server.asked) == [1, 3, 3]


async def test_what_gathers_does_not_wait_for_a_slow_request(server: FakeServer) -> None:
    release = threading.Event()
    server.accept_triggers()
    accept = server.answer

    def answer(asked: Asked) -> Answer:
        if asked.triggers()[0].payload == "0":
            release.wait(10)
        return accept(asked)

    server.answer = answer
    slow = asyncio.create_task(clients.send_trigger(wanted(0)))
    assert await asyncio.to_thread(server.arrived.wait, 5)

    assert (await clients.send_trigger(wanted(1))).run_id == "run_1"
    release.set()
    assert (await slow).run_id == "run_0"


async def test_a_canceled_caller_only_stops_waiting(server: FakeServer) -> None:
    server.accept_triggers()

    callers = [asyncio.create_task(clients.send_trigger(wanted(n))) for n in range(10)]
    await asyncio.sleep(0)
    callers[3].cancel()
    made = await asyncio.gather(*callers, return_exceptions=True)

    assert isinstance(made[3], asyncio.CancelledError)
    assert [one.run_id for one in made if isinstance(one, Triggered)] == [
        f"run_{n}" for n in range(10) if n != 3
    ]


async def test_one_bad_item_costs_the_others_nothing(server: FakeServer) -> None:
    def answer(asked: Asked) -> Answer:
        made = [
            Triggered(error=Refusal(422, "invalid_option", "no such queue", "queue"))
            if one.payload == "4"
            else Triggered(run_id=f"run_{one.payload}")
            for one in asked.triggers()
        ]
        return 200, {}, encode(made)

    server.answer = answer
    made = await asyncio.gather(*(clients.send_trigger(wanted(n)) for n in range(10)))

    assert [one.error is None for one in made] == [n != 4 for n in range(10)]


async def test_a_request_refused_as_a_whole_is_divided(server: FakeServer) -> None:
    def answer(asked: Asked) -> Answer:
        if any(one.payload == "5" for one in asked.triggers()):
            return 413, {}, b'{"error":"Request body too large"}'
        return 200, {}, encode([Triggered(run_id=f"run_{o.payload}") for o in asked.triggers()])

    server.answer = answer
    made = await asyncio.gather(
        *(clients.send_trigger(wanted(n)) for n in range(8)), return_exceptions=True
    )

    assert [isinstance(one, Triggered) for one in made] == [n != 5 for n in range(8)]
    failed = made[5]
    assert isinstance(failed, ApiError)
    assert failed.status == 413


async def test_errors_of_the_whole_request_reach_everybody(server: FakeServer) -> None:
    server.answer = lambda asked: (401, {}, b'{"error":"Invalid or Missing API key"}')

    made = await asyncio.gather(
        *(clients.send_trigger(wanted(n)) for n in range(3)), return_exceptions=True
    )

    assert [type(one).__name__ for one in made] == ["AuthenticationError"] * 3
    assert len({id(one) for one in made}) == 3
    assert len(server.asked) == 1


async def test_a_server_that_never_answers_costs_the_budget(server: FakeServer) -> None:
    silence = threading.Event()

    def answer(asked: Asked) -> Answer:
        silence.wait(20)
        return 500, {}, b""

    server.answer = answer
    impatient = coalescer.Coalescer(
        (await clients._client()).transport, lambda claims: None, budget=0.3
    )
    began = time.monotonic()
    with pytest.raises(TransportError, match="repeat it"):
        await impatient.trigger(wanted(1))
    silence.set()

    assert time.monotonic() - began < 3


async def test_a_sender_does_not_inherit_a_context(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.accept_triggers()
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")
    seen: list[str] = []

    def spy(items: list[bytes]) -> object:
        seen.append(trace.get())
        return triggers.trigger(items)

    monkeypatch.setattr("outlast.client.coalescer.trigger", spy)
    trace.set("of the first request")
    await clients.send_trigger(wanted(1))

    assert seen == ["none"]


def test_every_loop_has_its_own_client(server: FakeServer) -> None:
    server.accept_triggers()

    for number in range(3):
        made = asyncio.run(clients.send_trigger(wanted(number)))
        assert made.run_id == f"run_{number}"


def test_two_keys_never_share_a_request(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.accept_triggers()

    async def both() -> None:
        first = asyncio.create_task(clients.send_trigger(wanted(1)))
        await asyncio.sleep(0)
        monkeypatch.setenv("OUTLAST_SECRET_KEY", "tr_dev_other")
        await asyncio.gather(first, clients.send_trigger(wanted(2)))

    asyncio.run(both())
    assert {asked.headers["authorization"] for asked in server.asked} == {
        "Bearer tr_dev_0123456789",
        "Bearer tr_dev_other",
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(server: FakeServer) -> None:
    server.accept_triggers()
    clients.send_trigger_sync(wanted(1))
    before = clients._process.blocking
    child = os.fork()
    if child == 0:
        fresh = not clients._process.blocking and clients._process.blocking is not before
        made = clients.send_trigger_sync(wanted(2))
        os._exit(0 if fresh and made.run_id == "run_2" else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert clients.send_trigger_sync(wanted(3)).run_id == "run_3"


async def test_aclose_waits_for_what_is_in_flight(server: FakeServer) -> None:
    server.accept_triggers()
    caller = asyncio.create_task(clients.send_trigger(wanted(1)))
    await asyncio.sleep(0)
    await clients.aclose()

    assert (await caller).run_id == "run_1"
    assert (await clients.send_trigger(wanted(2))).run_id == "run_2"


def test_a_refusal_is_an_error_of_its_status() -> None:
    error = clients.refused(Refusal(422, "invalid_option", "no such queue", "queue"))

    assert isinstance(error, UnprocessableError)
    assert (error.code, error.param) == ("invalid_option", "queue")
