"""`on_commit=True` where it cannot work says what can."""

import sys

import pytest

from outlast import Task, UsageError, task, tasks
from outlast.sdk.registry import registry


@pytest.fixture
def mail() -> Task[str, None]:
    with registry.isolated():

        @task("mail")
        def mail(payload: str) -> None: ...

    return mail


def test_without_django_it_names_the_other_ways(
    mail: Task[str, None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "django", None)
    monkeypatch.delitem(sys.modules, "django.db.transaction", raising=False)
    with pytest.raises(UsageError, match=r"not installed; commit first .* connection="):
        mail.trigger_sync("a", on_commit=True)


@pytest.mark.parametrize("by_id", [False, True])
def test_it_and_a_connection_exclude_each_other(mail: Task[str, None], by_id: bool) -> None:
    call: object = (
        mail.trigger_sync if not by_id else lambda *a, **o: tasks.trigger_sync("mail", *a, **o)
    )
    with pytest.raises(UsageError, match="exclude each other"):
        call("a", on_commit=True, connection=object())  # type: ignore[operator]


def test_trigger_says_that_only_its_blocking_twin_has_it(mail: Task[str, None]) -> None:
    with pytest.raises(UsageError, match=r"only trigger_sync\(\) waits"):
        mail.trigger("a", on_commit=True)  # type: ignore[call-overload]
