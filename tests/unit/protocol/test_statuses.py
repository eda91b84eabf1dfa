"""Statuses: the one table that everything else is tested against."""

import pytest

from outlast.protocol.statuses import FAILED_ENDS, FINAL, NAMES, TRANSITIONS, Status


def test_every_status_is_named_for_every_consumer() -> None:
    """API, legacy API and realtime."""
    assert set(NAMES) == set(Status)
    assert all(all(names) for names in NAMES.values())


def test_every_status_says_what_follows() -> None:
    """A status missing from the table could never be left."""
    assert set(TRANSITIONS) == set(Status)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_nothing_follows_an_end(status: Status) -> None:
    """A run ends once."""
    assert TRANSITIONS[status] == frozenset()


@pytest.mark.parametrize("status", sorted(set(Status) - FINAL))
def test_every_open_status_can_be_canceled_and_leads_to_an_end(status: Status) -> None:
    """Nothing is ever silently stuck."""
    reached = {status}
    while more := {after for one in reached for after in TRANSITIONS[one]} - reached:
        reached |= more

    assert Status.CANCELED in TRANSITIONS[status]
    assert Status.COMPLETED in reached


def test_every_status_can_be_reached_from_a_trigger() -> None:
    """A run begins delayed, without a version, or queued."""
    reached = {Status.DELAYED, Status.PENDING_VERSION, Status.QUEUED}
    while more := {after for one in reached for after in TRANSITIONS[one]} - reached:
        reached |= more

    assert reached == set(Status)


def test_only_bad_ends_free_an_idempotency_key() -> None:
    """Completed and canceled keep it."""
    assert {Status.COMPLETED, Status.CANCELED} == FINAL - FAILED_ENDS


def test_stored_names_are_spelled_as_on_the_wire() -> None:
    """`canceled` with one l."""
    assert [status.value for status in Status] == [status.name.lower() for status in Status]
    assert NAMES[Status.CANCELED].api == "CANCELED"
