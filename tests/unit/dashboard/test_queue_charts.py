"""The charts of a queue: which bar a minute is in, and that the worst minute of a bar counts."""

from datetime import UTC, datetime, timedelta

from outlast.dashboard.pages.queues import charts
from outlast.protocol.queues import QueuePoint

NOW = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)


def point(minutes_ago: int, delay: float | None, queued: int = 0) -> QueuePoint:
    at = NOW.replace(second=0) - timedelta(minutes=minutes_ago)
    return QueuePoint(at=at, queued=queued, running=1, started=1, delayP95=delay)


def test_each_minute_of_an_hour_is_a_bar() -> None:
    delay, depth = charts([point(0, 2.5), point(59, 1.0), point(60, 9.0)], 3600, NOW)

    [values] = [one.values for one in delay.series]
    assert (delay.labels[0], delay.labels[-1]) == ("11:01", "12:00")
    assert (values[0], values[-1], sum(values)) == (1.0, 2.5, 3.5)
    assert [one.name for one in depth.series] == ["running", "queued"]


def test_the_worst_minute_of_a_bar_counts() -> None:
    points = [point(0, None, queued=7), point(8, 3.0, queued=2), point(9, 4.0)]

    delay, depth = charts(points, 86_400, NOW)

    assert max(delay.series[0].values) == 4.0
    assert max(depth.series[1].values) == 7
    assert len(delay.labels) == 60
