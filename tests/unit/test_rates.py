"""A bucket of requests fills by the minute and holds its burst."""

from outlast.server.rates import Rate, Rates


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_served_and_then_the_rate() -> None:
    clock = Clock()
    rates, rate = Rates(clock=clock), Rate(60, 3)

    answers = [rates.take("a", rate) for _ in range(4)]

    assert [one.remaining for one in answers] == [2, 1, 0, 0]
    assert [one.wait for one in answers] == [0, 0, 0, 1.0]
    clock.now += 1.0
    assert rates.take("a", rate).wait == 0
    assert rates.take("a", rate).wait == 1.0


def test_each_key_has_its_own_bucket() -> None:
    rates, rate = Rates(clock=Clock()), Rate(60, 1)

    assert rates.take("a", rate).wait == 0
    assert rates.take("b", rate).wait == 0
    assert rates.take("a", rate).wait > 0


def test_more_than_the_burst_waits_for_a_full_bucket_and_leaves_a_debt() -> None:
    clock = Clock()
    rates, rate = Rates(clock=clock), Rate(60, 3)
    rates.take("a", rate)

    assert rates.take("a", rate, 5).wait == 1.0
    clock.now += 1.0
    taken = rates.take("a", rate, 5)
    assert (taken.wait, taken.remaining, taken.full_in) == (0, 0, 5.0)
    assert rates.take("a", rate).wait == 3.0


def test_a_refused_request_costs_nothing() -> None:
    clock = Clock()
    rates, rate = Rates(clock=clock), Rate(60, 1)
    rates.take("a", rate)
    for _ in range(100):
        rates.take("a", rate)
    clock.now += 1.0

    assert rates.take("a", rate).wait == 0


def test_the_headers_tell_when_to_come_back_in_milliseconds() -> None:
    rates, rate = Rates(clock=Clock()), Rate(60, 1)
    rates.take("a", rate)

    headers = rates.take("a", rate).headers(now=1000.0)

    assert headers == {
        "x-ratelimit-limit": "1",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1001000",
    }
