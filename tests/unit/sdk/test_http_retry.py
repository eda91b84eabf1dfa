"""HTTP clients that try again: when, how often, and for how long they wait."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from outlast import Retry, UsageError, retry

Answer = httpx.Response | Exception
FAST = Retry(max_attempts=3, min_timeout=0, randomize=False)
RULES = retry.HttpRetry(
    by_status={"429,408,409,5xx": FAST}, connection_error=FAST, timeout=Retry(max_attempts=1)
)


def script(*answers: Answer) -> tuple[httpx.MockTransport, list[bytes]]:
    """Return a transport that gives these answers in turn, and the bodies it was sent."""
    left: Iterator[Answer] = iter(answers)
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        found = next(left)
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.MockTransport(answer), bodies


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_a_passing_failure_is_tried_again(status: int) -> None:
    transport, bodies = script(httpx.Response(status), httpx.Response(200, text="fine"))
    async with retry.AsyncClient(RULES, transport=transport) as client:
        response = await client.post("http://bank/pay", content=b"all of it")

    assert response.text == "fine"
    assert bodies == [b"all of it"] * 2


def test_the_blocking_twin_does_the_same() -> None:
    transport, bodies = script(httpx.ConnectError("no"), httpx.Response(200, text="fine"))
    with retry.Client(RULES, transport=transport) as client:
        assert client.post("http://bank/pay", content=iter([b"a", b"b"])).text == "fine"

    assert bodies == [b"ab", b"ab"]


@pytest.mark.parametrize("status", [200, 301, 400, 404, 422])
def test_other_answers_stand(status: int) -> None:
    transport, bodies = script(httpx.Response(status))
    with retry.Client(RULES, transport=transport) as client:
        assert client.get("http://bank/").status_code == status
    assert len(bodies) == 1


def test_the_last_answer_stands() -> None:
    transport, bodies = script(*(httpx.Response(500 + number) for number in range(4)))
    with retry.Client(RULES, transport=transport) as client:
        assert client.get("http://bank/").status_code == 502
    assert len(bodies) == 3


def test_a_timeout_has_a_rule_of_its_own() -> None:
    transport, bodies = script(httpx.ReadTimeout("slow"))
    with retry.Client(RULES, transport=transport) as client, pytest.raises(httpx.ReadTimeout):
        client.get("http://bank/")
    assert len(bodies) == 1


def test_no_rule_means_at_once() -> None:
    transport, _ = script(httpx.ConnectError("no"))
    rules = retry.HttpRetry(connection_error=None)
    with retry.Client(rules, transport=transport) as client, pytest.raises(httpx.ConnectError):
        client.get("http://bank/")


NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("form", "text", "seconds"),
    [
        ("unix_timestamp", f"{NOW.timestamp() + 30:.0f}", 30),
        ("unix_timestamp_in_ms", f"{(NOW.timestamp() + 30) * 1000:.0f}", 30),
        ("iso_8601", (NOW + timedelta(seconds=30)).isoformat(), 30),
        ("iso_8601", "2026-01-02T00:00:30Z", 30),
        ("iso_8601_duration_openai_variant", "1m30s", 90),
        ("iso_8601_duration_openai_variant", "20ms", 0.02),
        ("unix_timestamp", "0", 0),
        ("unix_timestamp", "soon", None),
        ("iso_8601", "tomorrow", None),
    ],
)
def test_headers_say_when_a_limit_is_lifted(
    form: retry.ResetFormat, text: str, seconds: float | None
) -> None:
    rule = retry.Headers(reset="x-reset", remaining="x-left", format=form)
    response = httpx.Response(429, headers={"x-reset": text, "x-left": "0"})

    found = rule.wait(response, NOW.timestamp())

    assert found == (None if seconds is None else pytest.approx(seconds, abs=0.001))


def test_a_limit_with_requests_left_says_nothing() -> None:
    response = httpx.Response(429, headers={"x-ratelimit-reset": "1", "x-ratelimit-remaining": "3"})

    assert retry.Headers().wait(response, 0.0) is None


def test_the_headers_decide_how_long_is_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    at = f"{time.time() + 60:.0f}"
    transport, _ = script(
        httpx.Response(429, headers={"x-ratelimit-reset": at}), httpx.Response(200)
    )
    rules = retry.HttpRetry(by_status={"429": retry.Headers()})
    with retry.Client(rules, transport=transport) as client:
        client.get("http://bank/")

    assert waited == [pytest.approx(60, abs=5)]


@pytest.mark.parametrize("statuses", ["", "600", "abc", "50", "429,"])
def test_a_status_that_is_none_is_refused(statuses: str) -> None:
    with pytest.raises(UsageError, match="by_status"):
        retry.HttpRetry(by_status={statuses: FAST})


# Outside of a run


async def test_a_block_outside_a_run_raises_its_own_error() -> None:
    tries: list[int] = []

    @retry.block(Retry(max_attempts=3, min_timeout=0))
    async def call(number: int) -> int:
        tries.append(number)
        if len(tries) < 3:
            raise OSError("busy")
        return number

    assert await call(7) == 7
    assert tries == [7, 7, 7]


def test_a_plain_block_outside_a_run_gives_up_in_the_end() -> None:
    tries: list[int] = []

    def call() -> None:
        tries.append(1)
        raise OSError("busy")

    with pytest.raises(OSError, match="busy"):
        retry.on_throw_sync(call, Retry(max_attempts=2, min_timeout=0))
    assert len(tries) == 2
