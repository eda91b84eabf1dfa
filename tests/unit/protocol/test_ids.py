"""Ids: prefixed, sorted by creation, and telling their moment."""

import re

from hypothesis import given
from hypothesis import strategies as st

from outlast.protocol.ids import id_milliseconds, new_id

MOMENTS = st.integers(min_value=0, max_value=2**50 - 1)


@given(MOMENTS)
def test_an_id_tells_its_moment(moment: int) -> None:
    """Retention drops by it."""
    assert id_milliseconds(new_id("run", moment)) == moment


@given(MOMENTS, MOMENTS)
def test_ids_sort_by_moment_as_bytes(first: int, second: int) -> None:
    """The column is `text collate "C"`: the order of bytes is the order of pages."""
    one, other = new_id("run", first), new_id("run", second)

    if first < second:
        assert one.encode() < other.encode()


def test_an_id_is_a_prefix_and_26_characters_without_lookalikes() -> None:
    """No i, l, o or u, so that an id can be read out over the phone."""
    assert re.fullmatch(r"batch_[0-9a-hj-km-np-tv-z]{26}", new_id("batch", 1_790_000_000_000))


def test_ids_of_one_moment_differ() -> None:
    """80 random bits."""
    assert len({new_id("run", 5) for _ in range(1_000)}) == 1_000
