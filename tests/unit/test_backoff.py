"""Backoff: one formula for retries of runs and of requests."""

from hypothesis import given
from hypothesis import strategies as st

from outlast.backoff import delay
from outlast.protocol.manifests import RetryPolicy

STEADY = RetryPolicy(max_attempts=4, factor=3.0, min_timeout=0.5, max_timeout=4.0, randomize=False)


def test_the_delay_grows_by_the_factor_up_to_the_longest() -> None:
    """0.5, 1.5, then 4.0 instead of 4.5."""
    assert [delay(STEADY, failures) for failures in (1, 2, 3)] == [0.5, 1.5, 4.0]


def test_the_last_attempt_has_no_successor() -> None:
    """Four attempts, so four failures are the end."""
    assert delay(STEADY, 4) is None
    assert delay(RetryPolicy(max_attempts=1), 1) is None


def test_no_policy_goes_past_250_attempts() -> None:
    """Whatever it was made to say, by a project or by an older client."""
    policy = RetryPolicy(max_attempts=1_000, max_timeout=1.0)
    assert delay(policy, 249) == 1.0
    assert delay(policy, 250) is None


def test_a_policy_that_says_nothing_has_three_attempts_within_a_minute() -> None:
    """The first is counted; the waits are at least 1 s and 2 s, and at most a minute."""
    assert RetryPolicy() == RetryPolicy(3, 2.0, 1.0, 60.0, randomize=True)


@given(failures=st.integers(1, 9), factor=st.floats(1, 4), first=st.floats(0.001, 60))
def test_a_randomised_delay_is_between_the_plain_one_and_its_double(
    failures: int, factor: float, first: float
) -> None:
    """So that a thousand runs that failed together do not come back together. Whole ms, too."""
    policy = RetryPolicy(max_attempts=10, factor=factor, min_timeout=first, max_timeout=1e9)
    plain = first * factor ** (failures - 1)

    waited = delay(policy, failures)

    assert waited is not None
    assert round(min(plain, 1e9), 3) <= waited <= round(min(2 * plain, 1e9), 3)
