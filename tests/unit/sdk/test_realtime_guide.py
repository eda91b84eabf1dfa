"""What the guide to realtime shows works as it stands there."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_api import Answer, Asked, FakeServer, encode
from outlast.protocol.triggers import Triggered

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "realtime.md"


@pytest.fixture
def shown() -> dict[str, Any]:
    """Return the names that the guide's Python defines."""
    names: dict[str, Any] = {"__name__": "realtime_guide"}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(compile(block, GUIDE.name, "exec"), names)
    return names


def row(status: str, **more: str) -> dict[str, object]:
    moment = "2026-01-02T03:04:05.678"
    value = {
        "id": "1",
        "friendlyId": "run_1",
        "taskIdentifier": "count",
        "status": status,
        "createdAt": moment,
        "updatedAt": moment,
        **more,
    }
    return {"key": "k", "value": value, "headers": {"operation": "insert"}}


@pytest.fixture
def realtime(server: FakeServer) -> FakeServer:
    """Let a run execute at the first look and end at the second."""

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            claims = {"x-trigger-jwt-claims": '{"sub":"env_1","pub":true}'}
            return 200, claims, encode([Triggered(run_id="run_1")])
        found = row("EXECUTING", metadata='{"progress":40}')
        if "live=true" in asked.path:
            found = row("COMPLETED_SUCCESSFULLY", output="45", outputType="application/json")
        body = msgspec.json.encode([found, {"headers": {"control": "up-to-date"}}])
        headers = {"electric-handle": "h", "electric-offset": "1_1", "electric-up-to-date": ""}
        return 200, headers, body

    server.answer = answer
    return server


async def test_a_run_is_watched_until_its_end(
    shown: dict[str, Any], realtime: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await shown["watch"]("run_1") == 45

    assert capsys.readouterr().out.splitlines()[0] == "EXECUTING 40"
    assert all("/realtime/v1/runs/run_1?" in asked.path for asked in realtime.asked)


@pytest.mark.usefixtures("realtime")
async def test_a_run_is_triggered_and_watched(
    shown: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    await shown["count_and_watch"]()

    assert capsys.readouterr().out.split() == ["EXECUTING", "COMPLETED"]


@pytest.mark.usefixtures("realtime")
async def test_a_page_gets_a_token(shown: dict[str, Any]) -> None:
    run, token = await shown["begin"]()

    assert run == "run_1"
    assert token.count(".") == 2
