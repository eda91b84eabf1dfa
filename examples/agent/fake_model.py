"""A model for those without one: speaks the OpenAI-compatible protocol, and plans one trip.

`python fake_model.py` serves it on port 8111; start the worker with
`OPENAI_BASE_URL=http://127.0.0.1:8111/v1`.
"""

import asyncio
import json
from collections import Counter
from typing import Any

PORT = 8111
TOOLS = 2  # that it uses before its last answer


class FakeModel:
    """Counts its calls by their idempotency keys. `hold`: stop in the middle of the last answer."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()
        self.hold: asyncio.Event | None = None
        self.held = asyncio.Event()
        self._calls = 0
        self._speaking: set[asyncio.Task[None] | None] = set()  # the loop alone would forget them

    async def serve(self, port: int = PORT) -> asyncio.Server:
        """Listen; port 0 takes a free one."""
        return await asyncio.start_server(self._answer, "127.0.0.1", port)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._speaking.add(asyncio.current_task())
        try:
            await self._reply(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # whoever asked is gone
        finally:
            writer.close()
            self._speaking.discard(asyncio.current_task())

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:])}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        assert head[0].startswith("POST /v1/chat/completions ")
        assert body["stream"]
        key = headers.get("idempotency-key", "")
        self.begun[key] += 1
        self._calls += 1
        call = f"chatcmpl-{self._calls}"
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
        )
        answers = [each["content"] for each in body["messages"] if each["role"] == "tool"]
        for delta in self._say(answers):
            await self._send(writer, call, delta, None)
            if self.hold is not None and len(answers) == TOOLS and delta["content"] == "snow, ":
                self.held.set()
                await self.hold.wait()
        await self._send(writer, call, {}, "tool_calls" if len(answers) < TOOLS else "stop")
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()
        self.finished[key] += 1

    def _say(self, answers: list[str]) -> list[dict[str, Any]]:
        if not answers:
            return [*_words("Let me look."), *_tool("look_up_weather", {"city": "Oslo"})]
        if len(answers) == 1:
            return _tool("ask_human", {"question": f"Oslo has {answers[0]}. Shall I book?"})
        return _words(f"Oslo has {answers[0]}, and you said {answers[1]}.")

    async def _send(
        self, writer: asyncio.StreamWriter, call: str, delta: dict[str, Any], end: str | None
    ) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        chunk = {"id": call, "object": "chat.completion.chunk", "choices": [choice]}
        writer.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await writer.drain()


def _words(text: str) -> list[dict[str, Any]]:
    return [{"content": word} for word in text.replace(" ", " \0").split("\0")]


def _tool(name: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
    """Return a tool call in pieces, as providers send it."""
    text = json.dumps(arguments)
    first = {"index": 0, "id": f"call_{name}", "function": {"name": name, "arguments": ""}}
    pieces = [{"index": 0, "function": {"arguments": part}} for part in (text[:5], text[5:])]
    return [{"tool_calls": [piece]} for piece in (first, *pieces)]


async def main() -> None:
    """Serve until stopped."""
    server = await FakeModel().serve()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
