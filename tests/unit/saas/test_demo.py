import pytest
from demo import DemoError, Plan


def test_without_rows_the_seed_is_exported_in_pages_of_25() -> None:
    plan = Plan.of({})

    assert (plan.rows, plan.page_rows, plan.pages, plan.kill_after) == (200, 25, 8, 2)


@pytest.mark.parametrize("rows", [1_000, 1_001, 50_000, 250_000])
def test_a_large_export_has_about_fifty_pages(rows: int) -> None:
    plan = Plan.of({"ROWS": str(rows)})

    assert 45 <= plan.pages <= 50
    assert plan.page_rows <= 5_000, "the most that a payload may ask for"


@pytest.mark.parametrize(("rows", "kill_after"), [(1, 0), (26, 1), (51, 2)])
def test_the_worker_dies_before_the_last_page(rows: int, kill_after: int) -> None:
    assert Plan.of({"ROWS": str(rows)}).kill_after == kill_after


@pytest.mark.parametrize("rows", ["0", "-1", "many", "250001", "1e3", "²"])
def test_rows_that_make_no_sense_are_refused(rows: str) -> None:
    with pytest.raises(DemoError, match="ROWS must be a number"):
        Plan.of({"ROWS": rows})
