"""The rows of a waterfall are HTML made by hand: nothing that a task wrote may become a tag."""

import html
import re
from datetime import UTC, datetime, timedelta

from outlast.dashboard.waterfall import Bar, Waterfall, waterfall
from outlast.protocol.bodies import RunDetail
from outlast.protocol.body import iso
from outlast.protocol.statuses import Status
from outlast.protocol.timeline import JournalEntryBody
from outlast.server.run_bodies import flags

HOSTILE = """'"><script>alert(1)</script>&amp;"""


def row(**fields: object) -> str:
    bar = Bar(
        **{  # type: ignore[arg-type]
            "id": "step:a#0",
            "kind": "step",
            "name": "a",
            "depth": 1,
            "tone": "good",
            "start": 0.5,
            "width": 2.0,
            "time": "1 ms",
            **fields,
        }
    )
    return bar.row("runs?parent=run_1&x=2")


def test_what_a_task_wrote_stays_text() -> None:
    made = row(id=HOSTILE, name=HOSTILE, note=HOSTILE, kind=HOSTILE, runs=(HOSTILE,))
    assert "<script" not in made
    assert html.unescape(re.sub(r"<[^>]*>", "", made)).count("alert(1)") == 3
    tags = ["li", "span", "b", "a", "small", "span", "svg", "rect", "span"]
    assert re.findall(r"<(\w+)", made) == tags


def test_a_few_runs_are_linked_and_many_are_counted() -> None:
    few, many = row(runs=("run_1",) * 3), row(runs=("run_1",) * 4)
    assert (few.count("<a"), many.count("<a")) == (3, 4)
    assert '<a href="runs?parent=run_1&amp;x=2">all 4</a>' in many


def test_a_moment_is_a_dot_and_an_open_bar_says_so() -> None:
    assert "<circle" in row(width=0.0)
    assert '<li class="row good open"' in row(is_open=True)


def drawn(began: datetime, *, steps: int, lasts: float | None = None) -> Waterfall:
    run = RunDetail(
        id="run_1",
        status="EXECUTING" if lasts is None else "COMPLETED",
        **flags(Status.EXECUTING if lasts is None else Status.COMPLETED),
        is_test=False,
        task_identifier="a",
        created_at=began,
        updated_at=began,
        started_at=began,
        finished_at=None if lasts is None else began + timedelta(seconds=lasts),
    )
    moments = [iso(began + timedelta(seconds=number / 100)) for number in range(steps)]
    entries = [
        JournalEntryBody(
            key=f"/step:a#{number}",
            kind="step",
            name="a",
            attempt=1,
            status="FINISHED",
            created_at=moment,
            finished_at=moment,
        )
        for number, moment in enumerate(moments)
    ]
    return waterfall(run, entries, [], [])


def test_what_is_over_stays_where_it_is_while_a_run_goes_on() -> None:
    began = datetime.now(UTC) - timedelta(seconds=100)
    lists = re.compile(r"<ol id=\"live_rows_\d+\".*?</ol>")

    before = lists.findall(drawn(began, steps=200).rows("runs"))
    after = lists.findall(drawn(began, steps=220).rows("runs"))

    assert len(before) == len(after) == 5
    assert before[1:4] == after[1:4]
    assert before[4] != after[4]


def test_the_axis_has_round_times() -> None:
    began = datetime.now(UTC)

    def texts(seconds: float) -> list[str]:
        return [text for _, text in drawn(began, steps=0, lasts=seconds).ticks]

    assert texts(0.027) == ["0", "10 ms", "20 ms"]
    assert texts(56) == ["0", "20 s", "40 s"]
    assert texts(5000) == ["0", "20 min", "40 min", "1 h"]
    assert texts(30 * 86_400) == ["0", "6 d", "12 d", "18 d", "24 d"]
