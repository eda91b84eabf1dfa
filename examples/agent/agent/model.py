"""A model behind the OpenAI-compatible chat API, streamed: any provider, by its base URL.

`OPENAI_BASE_URL`, `OPENAI_API_KEY` and `MODEL` say which.
"""

import json
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpx
from pydantic import BaseModel

TIMEOUT = httpx.Timeout(120, connect=10)


class Function(BaseModel):
    name: str = ""
    arguments: str = ""  # JSON, as the model writes it


class ToolCall(BaseModel):
    id: str = ""
    type: str = "function"
    function: Function = Function()


class Message(BaseModel):
    role: str
    content: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class CutOffError(Exception):
    """The model stopped in the middle of what it said."""


async def complete(
    messages: Sequence[Message],
    tools: Sequence[dict[str, Any]],
    heard: Callable[[str, str], Awaitable[None]],
    *,
    key: str,
) -> Message:
    """Return what the model says; `heard` gets (id of the call, text) as it comes.

    `key` names the call towards the provider: one that knows idempotency keys charges it once.
    """
    reply = Message(role="assistant", content="", tool_calls=[])
    body = {
        "model": os.environ.get("MODEL", "gpt-4o-mini"),
        "messages": [message.model_dump(exclude_none=True) for message in messages],
        "tools": list(tools),
        "stream": True,
    }
    headers = {
        "authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}",
        "idempotency-key": key,
    }
    url = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1") + "/chat/completions"
    async with (
        httpx.AsyncClient(timeout=TIMEOUT) as client,
        client.stream("POST", url, json=body, headers=headers) as response,
    ):
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                return reply.model_copy(update={"tool_calls": reply.tool_calls or None})
            if line.startswith("data: "):
                chunk = json.loads(line.removeprefix("data: "))
                for choice in chunk["choices"]:
                    if text := _add(reply, choice["delta"]):
                        await heard(chunk["id"], text)
    raise CutOffError("the model's answer ended without its end")


def _add(reply: Message, delta: dict[str, Any]) -> str:
    """Put a piece of the answer to the rest; return its text."""
    text: str = delta.get("content") or ""
    reply.content = (reply.content or "") + text
    assert reply.tool_calls is not None
    for piece in delta.get("tool_calls") or ():
        while len(reply.tool_calls) <= piece["index"]:
            reply.tool_calls.append(ToolCall(function=Function()))
        call = reply.tool_calls[piece["index"]]
        call.id += piece.get("id") or ""
        call.function.name += piece.get("function", {}).get("name") or ""
        call.function.arguments += piece.get("function", {}).get("arguments") or ""
    return text
