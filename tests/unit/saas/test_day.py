from datetime import UTC, datetime, timedelta, timezone

import pytest
from app.exports.day import day_bucket


def test_the_day_is_that_of_utc() -> None:
    evening_in_new_york = datetime(2025, 3, 1, 22, 30, tzinfo=timezone(timedelta(hours=-5)))

    assert day_bucket(evening_in_new_york) == "2025-03-02"


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_a_day_lasts_until_midnight(hour: int) -> None:
    assert day_bucket(datetime(2025, 12, 31, hour, 59, 59, tzinfo=UTC)) == "2025-12-31"


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        day_bucket(datetime(2025, 3, 1))  # noqa: DTZ001
