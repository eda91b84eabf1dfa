"""How times, numbers and shares read on a page."""

from datetime import UTC, datetime, timedelta

import pytest

from outlast.dashboard import words
from outlast.dashboard.charts import Chart, Series


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0004, "0 ms"),
        (0.25, "250 ms"),
        (59.94, "59.9 s"),
        (61, "1 min 1 s"),
        (3661, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_its_two_largest_units(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


def test_a_moment_is_coarse_in_both_directions() -> None:
    now = datetime.now(UTC)

    assert words.ago(now - timedelta(minutes=5, seconds=1)) == "5 min ago"
    assert words.ago(now + timedelta(hours=2, seconds=30)) == "in 2 h"


@pytest.mark.parametrize(
    ("progress", "share"),
    [(0.5, 0.5), (50, 0.5), ({"done": 1, "total": 4}, 0.25), ({"total": 0}, None), (True, None)],
)
def test_progress_is_read_in_the_usual_ways(progress: object, share: float | None) -> None:
    assert words.share({"progress": progress}) == share  # type: ignore[dict-item]  # any JSON


def test_a_chart_stacks_from_the_ground_up() -> None:
    chart = Chart(
        "runs", ("a", "b"), (Series("good", "good", (1, 3)), Series("bad", "bad", (1, 1)))
    )

    assert chart.top == 4
    assert [(box.y, box.height) for box in chart.boxes] == [(75, 25), (50, 25), (25, 75), (0, 25)]
