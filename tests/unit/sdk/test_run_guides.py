"""What the guides to runs and batches show works as it stands there."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fake_api import Answer, Asked, FakeServer
from fake_runtime import FakeRuntime
from outlast.protocol.outcomes import Outcome
from outlast.sdk import runtime

GUIDES = Path(__file__).parents[3] / "docs" / "guides"


def shown(guide: str) -> dict[str, Any]:
    """Return the names that a guide's Python defines."""
    names: dict[str, Any] = {"__name__": guide}
    for block in re.findall(
        r"```python\n(.*?)```", (GUIDES / f"{guide}.md").read_text(), re.DOTALL
    ):
        exec(compile(block, f"{guide}.md", "exec"), names)
    return names


async def test_the_batches_of_the_guide_are_made() -> None:
    names = shown("batches")
    run = FakeRuntime()
    ends = (Outcome(True, '"shipped 4"', task="ship"), Outcome(True, "6.0", task="bill"))
    run.answers["ship+bill"] = Outcome(ok=True, members=ends)

    with runtime.entered(run):
        assert await names["checkout"].function(4) == "shipped 4 for 6.00"
        assert await names["trigger_all"]() == (None, 0)

    assert [len(call.items) for call in run.calls] == [2, 3, 2]


async def test_the_bulk_action_of_the_guide_is_followed(server: FakeServer) -> None:
    counts = {"total": 2, "success": 2, "failure": 0}
    action = {
        "id": "bulk_1",
        "type": "CANCEL",
        "counts": counts,
        "createdAt": "2026-11-22T00:00:00Z",
    }

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return 200, {}, b'{"id":"bulk_1"}'
        return 200, {}, json.dumps({**action, "status": "COMPLETED"}).encode()

    server.answer = answer

    assert await shown("runs")["stop_everything_of"]("org_1") == "2 of 2"
    assert server.asked[0].json() == {
        "action": "cancel",
        "filter": {"tag": "org_1", "status": ["QUEUED", "DELAYED"]},
        "name": "left us",
    }


async def test_the_replay_of_the_guide_changes_what_it_names(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = shown("runs")

    async def polled(run_id: str, *, timeout: object) -> Any:  # noqa: ASYNC109 - its signature
        return type("Run", (), {"status": f"{run_id} COMPLETED"})

    monkeypatch.setattr("outlast.sdk.runs.poll", polled)
    server.answer = lambda asked: (200, {}, b'{"id":"run_2"}')

    assert await names["again"]("run_1") == "run_2 COMPLETED"
    [asked] = server.asked
    assert asked.path == "/api/v1/runs/run_1/replay"
    assert asked.json() == {
        "payload": {"month": "2026-11"},
        "payloadType": "application/json",
        "tags": ["by-hand"],
    }
