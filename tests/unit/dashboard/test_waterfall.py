"""The rows of a waterfall are HTML made by hand: nothing that a task wrote may become a tag."""

import html
import re

from outlast.dashboard.waterfall import Bar

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
            "at": "12:00:00.000",
            "took": "1 ms",
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
