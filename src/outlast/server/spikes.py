"""What is odd in a week's numbers: far more runs than usual, attempt after attempt.

A task whose runs multiply mostly lacks an idempotency key or retries in a storm; growth is rarer.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from outlast.protocol.activity import Spike, Tally

LEAST_RUNS = 20
"""Fewer runs in a week are no spike."""
_FACTOR = 2.0
_MANY_ATTEMPTS = 2.0
_MOSTLY_KEYLESS = 0.5
_WEEK = 7 * 86_400.0
_LEAST_SHARE = 1 / 7
"""A week that has just begun is compared as if a day of it were over."""

Cause = Literal["retries", "keyless", "growth"]
_ADVICE: dict[Cause, str] = {
    "retries": "runs fail and try again: look at its errors; let what cannot succeed raise "
    "AbortTaskRunError, and wait longer between attempts",
    "keyless": "most of its runs have no idempotency key: one event may trigger several; give the "
    "trigger a key made of what it is about",
    "growth": "neither retries nor missing keys explain it: see what triggers it",
}


def spikes(tallies: Sequence[Tally], now: datetime) -> tuple[Spike, ...]:
    """Return what is odd about the last of the weeks, the oddest first."""
    if not tallies:
        return ()
    week = max(tally.start for tally in tallies)
    elapsed = max(_LEAST_SHARE, min(1.0, (now - week).total_seconds() / _WEEK))
    of_tasks: dict[str, list[Tally]] = {}
    for tally in tallies:
        of_tasks.setdefault(tally.task, []).append(tally)
    found = []
    for task, own in sorted(of_tasks.items()):
        spike = _spike(task, own, week, elapsed)
        if spike is not None:
            found.append(spike)
    return tuple(sorted(found, key=lambda one: -(one.factor or 0.0)))


def _spike(task: str, tallies: Sequence[Tally], week: datetime, elapsed: float) -> Spike | None:
    present = next((tally for tally in tallies if tally.start == week), None)
    if present is None or present.runs < LEAST_RUNS:
        return None
    before = [tally.runs for tally in tallies if tally.start < week]
    usual = sum(before) / len(before) * elapsed if before else 0.0
    factor = round(present.runs / usual, 1) if usual else None
    attempts = present.attempts / present.runs
    keyless = present.keyless / present.runs
    if (factor or 0.0) < _FACTOR and attempts < _MANY_ATTEMPTS:
        return None
    cause: Cause = "growth"
    if attempts >= _MANY_ATTEMPTS:
        cause = "retries"
    elif keyless >= _MOSTLY_KEYLESS:
        cause = "keyless"
    return Spike(
        task=task,
        factor=factor,
        attempts_per_run=round(attempts, 2),
        keyless_share=round(keyless, 3),
        cause=cause,
        advice=_ADVICE[cause],
    )
