"""Streams over HTTP: events that resume, messages, and the routes of writers of other languages."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn

from api_server import Api
from fake_worker import Claimed
from outlast.protocol.frames import Kind
from outlast.protocol.streams import Append, Appended, Chunk
from outlast.protocol.triggers import Trigger
from outlast.server.listening import bind, listening
from outlast.server.routes import streams as routes
from outlast.server.settings import ServerSettings

STREAMS = "/realtime/v1/streams"


async def claimed(api: Api) -> Claimed:
    return await api.worker.claim(await api.trigger())


async def append(run: Claimed, *texts: str, first: int = 1, key: str = "ai") -> None:
    chunks = tuple(Chunk("", n, key, text) for n, text in enumerate(texts, first))
    await run.ack(run.send(Kind.APPEND, Append(chunks)), Appended)


async def read(api: Api, run: str, key: str = "ai", **headers: str) -> list[tuple[str, str]]:
    """Return (id, data) of all events of a run that has ended."""
    reply = await api.client.get(f"{STREAMS}/{run}/{key}", headers=headers)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert "x-stream-version" not in reply.headers
    return events(reply.text)


def events(text: str) -> list[tuple[str, str]]:
    """Read events as the standard says."""
    found = []
    for block in text.split("\n\n"):
        fields = [line.partition(": ") for line in block.splitlines() if not line.startswith(":")]
        data = "\n".join(value for name, _, value in fields if name == "data")
        ids = [value for name, _, value in fields if name == "id"]
        if ids:
            found.append((ids[0], data))
    return found


@asynccontextmanager
async def served(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the server on a socket, whose answers come piece by piece."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(api.app, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        port = listener.getsockname()[1]
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {api.key}"},
            trust_env=False,
        ) as client:
            yield client
        server.should_exit = True
        await serving


async def test_a_stream_is_read_from_any_index(api: Api) -> None:
    run = await claimed(api)
    await append(run, "0", '"one"', '{"two":2}')
    run.complete()
    await api.ended(run.run)

    whole = [("0", "0"), ("1", '"one"'), ("2", '{"two":2}')]
    assert await read(api, run.run) == whole
    assert await read(api, run.run, **{"last-event-id": "0"}) == whole[1:]
    assert await read(api, run.run, **{"last-event-id": "-1"}) == whole
    assert await read(api, run.run, **{"last-event-id": "2"}) == []
    assert await read(api, run.run, **{"x-trigger-stream-start": "latest"}) == []


async def test_a_read_goes_on_as_chunks_come_and_ends_with_the_run(api: Api) -> None:
    run = await claimed(api)
    async with served(api) as client, client.stream("GET", f"{STREAMS}/{run.run}/ai") as reply:
        lines = reply.aiter_lines()
        assert await anext(lines) == ": ping"
        for n in range(3):
            await append(run, str(n), first=n + 1)
            while (line := await anext(lines)) != f"data: {n}":
                assert line in ("", f"id: {n}"), line
        run.complete()
        rest = [line async for line in lines]

    assert rest == ["", ": end", ""]


async def test_a_stream_that_nobody_wrote_to_waits_and_closes_when_nothing_comes(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no error to read before the first chunk; a comment now and then keeps it open."""
    monkeypatch.setattr(routes, "KEEPALIVE_SECONDS", 0.2)
    run = await claimed(api)

    reply = await api.client.get(f"{STREAMS}/{run.run}/nothing", headers={"timeout-seconds": "1"})

    assert reply.status_code == 200
    assert reply.text.count(": ping") >= 4
    assert ": end" not in reply.text


async def test_a_server_that_stops_cuts_its_readers_off_so_that_they_come_back(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no error of the server: its log has nothing to say about it."""
    run = await claimed(api)
    services = api.app.state.services
    settings = ServerSettings(database_url="", encryption_keys=(), port=0)
    log = logging.getLogger("uvicorn.error")
    log.addHandler(caplog.handler)
    async with listening(api.app, bind(settings)) as bound:
        client = httpx.AsyncClient(base_url=bound.url, headers=api.client.headers, trust_env=False)
        async with client, client.stream("GET", f"{STREAMS}/{run.run}/ai") as reply:
            lines = reply.aiter_lines()
            await anext(lines)
            services.stopping.set()
            with pytest.raises(httpx.RemoteProtocolError):
                [line async for line in lines]
    log.removeHandler(caplog.handler)

    assert [record for record in caplog.records if record.exc_info] == []


async def test_lines_in_a_chunk_stay_one_event(api: Api) -> None:
    run = await claimed(api)
    await append(run, '{\n"a":\r\n1}', "after")
    run.complete()
    await api.ended(run.run)

    assert await read(api, run.run) == [("0", '{\n"a":\n1}'), ("1", "after")]


async def test_who_may_read_the_run_may_read_its_streams(api: Api) -> None:
    run = await claimed(api)
    run.complete()
    await api.ended(run.run)
    tokens = api.engine.tokens
    environment = api.platform.environment
    may = await tokens.mint(environment, (f"read:runs:{run.run}",), seconds=60)
    other = await tokens.mint(environment, ("read:runs:run_other",), seconds=60)

    path = f"{STREAMS}/{run.run}/ai"
    statuses = [
        (await api.with_bearer(bearer).get(path)).status_code for bearer in (may, other, None)
    ]

    assert statuses == [200, 403, 401]
    assert (await api.client.get(f"{STREAMS}/run_none/ai")).status_code == 404
    assert (await api.client.get(path, headers={"last-event-id": "x"})).status_code == 400


async def test_a_message_reaches_the_run_with_the_token_that_its_trigger_gave(api: Api) -> None:
    reply = await api.client.post("/api/v1/tasks/hello/trigger", json={})
    run = await api.worker.claim(reply.json()["id"])
    browser = api.with_bearer(reply.headers["x-trigger-jwt"])
    await run.call("stream:approval#0", "stream", target="approval")

    sent = await browser.post(f"{STREAMS}/{run.run}/input/approval", json={"data": {"ok": True}})

    assert (sent.status_code, sent.json()) == (200, {"ok": True})
    assert (await run.result("stream:approval#0")).value == '{"ok":true}'
    other = await api.trigger()
    refused = await browser.post(f"{STREAMS}/{other}/input/approval", json={"data": 1})
    assert refused.status_code == 403


async def test_a_repeated_request_sends_one_message_and_what_was_sent_can_be_read(api: Api) -> None:
    run = await claimed(api)
    path = f"{STREAMS}/{run.run}/input/approval"
    headers = {"x-trigger-request-idempotency-key": "r1"}

    for _ in range(2):
        assert (await api.client.post(path, json={"data": 1}, headers=headers)).status_code == 200
    await api.client.post(path, json={})

    assert events((await api.client.get(path)).text) == [("1", "1"), ("2", "null")]


async def test_messages_that_cannot_be_received_are_refused(api: Api) -> None:
    run = await claimed(api)
    path = f"{STREAMS}/{run.run}/input/approval"
    large = await api.client.post(path, json={"data": "x" * 1024 * 1024})
    broken = await api.client.post(path, content=b"{", headers={"content-type": "application/json"})
    run.complete()
    await api.ended(run.run)
    late = await api.client.post(path, json={"data": 1})
    unknown = await api.client.post(f"{STREAMS}/run_none/input/approval", json={"data": 1})

    replies = (large, broken, late, unknown)
    assert [reply.status_code for reply in replies] == [413, 400, 400, 404]
    assert "has ended" in late.json()["error"]


async def test_a_writer_of_another_language_announces_writes_resumes_and_counts_once(
    api: Api,
) -> None:
    run = await claimed(api)
    path = f"{STREAMS}/{run.run}/self/ai"
    client = {"x-client-id": "c1"}

    announced = await api.client.put(path)
    before = await api.client.head(path, headers=client)
    first = await api.client.post(path, content=b'{"a":1}\n"two"\n', headers=client)
    again = await api.client.post(
        path, content=b'"two"\n3\n', headers={**client, "x-resume-from-chunk": "1"}
    )
    after = await api.client.head(path, headers=client)

    assert (announced.status_code, announced.json()) == (202, {"version": "v1"})
    assert await api.engine.streams.keys_of([run.run]) == {run.run: ("ai",)}
    assert (first.status_code, again.status_code) == (200, 200)
    indexes = [reply.headers["x-last-chunk-index"] for reply in (before, after)]
    assert indexes == ["-1", "2"]
    run.complete()
    await api.ended(run.run)
    assert [data for _, data in await read(api, run.run)] == ['{"a":1}', '"two"', "3"]
    assert (await api.client.post(path, content=b"4\n")).status_code == 400


async def test_a_part_is_appended_once_to_the_run_that_its_target_names(api: Api) -> None:
    parent = await claimed(api)
    called = await parent.call("child:hello#0", "child", Trigger(task="hello"))
    child = called.runs[0].run_id
    path = f"{STREAMS}/{child}/parent/ai/append"

    for part in ("p1", "p1", "p2"):
        reply = await api.client.post(path, content=f'"{part}"', headers={"x-part-id": part})
        assert reply.json() == {"ok": True}
    large = await api.client.post(path, content=b"x" * (512 * 1024 + 1))
    nowhere = await api.client.put(f"{STREAMS}/{child}/cousin/ai")

    assert large.status_code == 413
    assert nowhere.status_code == 400
    parent.complete()
    await api.ended(parent.run)
    assert [data for _, data in await read(api, parent.run)] == ['"p1"', '"p2"']


async def test_only_secret_keys_write_streams(api: Api) -> None:
    run = await claimed(api)
    token = await api.engine.tokens.mint(
        api.platform.environment, (f"read:runs:{run.run}", "write:runs"), seconds=60
    )
    browser = api.with_bearer(token)

    path = f"{STREAMS}/{run.run}/self/ai"
    replies = [await browser.put(path), await browser.post(path), await browser.head(path)]
    replies.append(await browser.post(f"{path}/append", content=b"1"))

    assert {reply.status_code for reply in replies} == {403}
