"""What `outlast dev` says besides one line per run."""

from pathlib import Path

import pytest

from outlast.cli.narrator import Narrator
from outlast.worker.events import RunEnded
from outlast.worker.findings import Findings
from outlast.worker.settings import WorkerSettings

SETTINGS = WorkerSettings(api_urls=("http://127.0.0.1:1",), secret_key="k", project_root=Path())


def failed(task: str, kind: str = "raised") -> RunEnded:
    return RunEnded("run_1", task, ok=False, seconds=1, error="ValueError: no", kind=kind)


async def test_that_retries_are_off_is_said_once_where_a_task_has_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def discover(settings: WorkerSettings) -> Findings:
        return Findings(once=("export",))

    narrator = Narrator()
    await narrator.hearing(discover)(SETTINGS)
    said: list[int] = []
    for event in (failed("other"), failed("export", "aborted"), failed("export"), failed("export")):
        narrator.show(event)
        said.append(capsys.readouterr().out.count("enabled_in_dev = true"))

    assert said == [0, 0, 1, 0]
