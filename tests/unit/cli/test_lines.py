"""The lines that `outlast dev` prints."""

import pytest

from outlast.cli.lines import line
from outlast.worker.events import (
    Disconnected,
    ExecutorDied,
    Fenced,
    Ready,
    Rejected,
    RunEnded,
    RunLeft,
)
from outlast.worker.findings import Problem


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (RunEnded("run_1", "export", ok=True, seconds=1.25), "✔ export  run_1  1.2s"),
        (
            RunEnded("run_1", "export", ok=False, seconds=0.02, error="ValueError: no"),
            "✘ export  run_1  20ms  ValueError: no (attempt 1)",
        ),
        (
            RunEnded("run_1", "export", ok=False, seconds=2, error="OSError: x", retry_in=1.0),
            "↻ export  run_1  2.0s  OSError: x (attempt 1); attempt 2 in 1.0s",
        ),
        (
            RunEnded("run_1", "export", ok=False, seconds=2, error="OSError: one\ntwo"),
            "✘ export  run_1  2.0s  OSError: one … (attempt 1)",
        ),
        (
            RunEnded("run_1", "export", ok=False, seconds=2, error="E: " + "x" * 5000),
            "✘ export  run_1  2.0s  E: " + "x" * 297 + " … (attempt 1)",
        ),
        (
            Rejected((Problem("trigger/a.py", "SyntaxError: no", 3),), keeps="20260101.1"),
            (
                "✘ trigger/a.py:3: SyntaxError: no\n"
                "  version 20260101.1 goes on until the files above are repaired"
            ),
        ),
        (
            RunEnded(
                "run_1",
                "export",
                ok=False,
                seconds=7,
                error="MaxDurationExceeded: too long",
                kind="timed_out",
                line="trigger/export.py:9 in export",
                attempt=2,
            ),
            (
                "✘ export  run_1  7.0s  MaxDurationExceeded: too long "
                "(timed_out, attempt 2, trigger/export.py:9 in export)"
            ),
        ),
        (
            RunEnded("run_1", "export", ok=False, seconds=7, error="E: other", kind="replay"),
            (
                "‖ export  run_1  7.0s  E: other (replay, attempt 1); parked: correct the code, or "
                "`outlast runs resume run_1`"
            ),
        ),
        (
            RunLeft("run_1", "export", "canceled: by request"),
            "✘ export  run_1  left this worker: canceled: by request",
        ),
        (Fenced(1), "! no server answered; 1 run stopped here and will go on when one does"),
        (ExecutorDied(7, "signal 11", ("run_1",)), "! executor 7 died: signal 11, with run_1"),
        (
            Disconnected("http://a", "closed"),
            "! the link to http://a is gone (closed); connecting again",
        ),
    ],
)
def test_an_event_is_one_line_that_says_what_happened(event: object, text: str) -> None:
    """And to which run."""
    shown = line(event)

    assert shown is not None
    assert shown.text == text


def test_what_nobody_waits_for_has_no_line() -> None:
    """`outlast dev` prints its own banner when the worker is ready."""
    assert line(Ready("20260101.1", ("a",), "http://a", "dev")) is None
