"""Which entry answers which call."""

import pytest

from outlast.protocol.messages import Entry
from outlast.protocol.outcomes import Outcome
from outlast.sdk.errors import NonDeterministicReplayError, UsageError
from outlast.worker.delivery import Delivery, Hold
from outlast.worker.journal import Item, Journal
from outlast.worker.scopes import Scope

DONE = Outcome(ok=True, value="1")


def fresh() -> Journal:
    return Journal("run_1", 1, resumed=False, entries=())


def ask(journal: Journal, scope: Scope, name: str, arguments: str = "") -> Item:
    return journal.ask(journal.reserve(scope, "step", name), arguments)


def entry(item: Item, attempt: int = 1, **changes: object) -> Entry:
    fields = {
        "key": item.wire,
        "kind": item.kind,
        "name": item.name,
        "attempt": attempt,
        "outcome": DONE,
        "position": item.position,
        "arguments": item.content,
        **changes,
    }
    return Entry(**fields)  # type: ignore[arg-type]


def test_a_key_names_scope_kind_name_and_occurrence() -> None:
    journal, root = fresh(), Scope()
    child = root.child("app.worker")
    assert journal.reserve(root, "step", "a") == "step:a#0"
    assert journal.reserve(root, "step", "a") == "step:a#1"
    assert journal.reserve(root, "child", "a") == "child:a#0"
    assert journal.reserve(child, "step", "a/b") == "~app.worker#0/step:a%2Fb#0"
    assert root.child("app.worker").path == "~app.worker#1"


def test_long_keys_are_cut_and_stay_different() -> None:
    journal, root = fresh(), Scope()
    keys = {journal.reserve(root, "step", "x" * 500 + end) for end in "ab"}
    assert len(keys) == 2
    assert max(map(len, keys)) <= 393


def test_a_longer_key_replays_too() -> None:
    first = ask(fresh(), Scope(), "x" * 500)
    journal = Journal("run_1", 1, resumed=True, entries=[entry(first)])
    assert ask(journal, Scope(), "x" * 500).outcome == DONE


def test_within_an_attempt_the_recorded_call_stands_at_its_position() -> None:
    journal, root = fresh(), Scope()
    items = [ask(journal, root, name) for name in "abc"]
    replay = Journal("run_1", 1, resumed=True, entries=[entry(items[2]), entry(items[0])])
    scope = Scope()
    assert ask(replay, scope, "a").outcome == DONE
    assert ask(replay, scope, "b").outcome is None  # was interrupted
    assert ask(replay, scope, "c").outcome == DONE


@pytest.mark.parametrize("name", ["b", "c"])
def test_another_call_at_a_position_is_no_replay(name: str) -> None:
    journal, root = fresh(), Scope()
    entries = [entry(ask(journal, root, each)) for each in "ab"]
    replay, scope = Journal("run_1", 1, resumed=True, entries=entries), Scope()
    with pytest.raises(NonDeterministicReplayError, match=r"call 1 of the task was step:a#0"):
        ask(replay, scope, name)


def test_other_arguments_of_a_child_are_a_warning_or_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = fresh()
    made = journal.ask(journal.reserve(Scope(), "child", "mail"), "today")
    for strict in (False, True):
        replay = Journal("run_1", 1, resumed=True, entries=[entry(made)], strict=strict)
        key = replay.reserve(Scope(), "child", "mail")
        if strict:
            with pytest.raises(NonDeterministicReplayError, match="other arguments"):
                replay.ask(key, "tomorrow")
        else:
            assert replay.ask(key, "tomorrow").outcome == DONE
            assert "the recorded answer stands" in caplog.text


def test_a_journal_has_a_limit_that_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outlast.worker.journal.MAX_ENTRIES", 2)
    journal, root = fresh(), Scope()
    for name in "ab":
        ask(journal, root, name)
    with pytest.raises(UsageError, match="batch_trigger_and_wait"):
        ask(journal, root, "c")


def test_a_new_attempt_finds_by_content_whatever_the_order() -> None:
    journal, root = fresh(), Scope()
    entries = [entry(ask(journal, root, "pay", who)) for who in ("x", "y", "y")]
    later, scope = Journal("run_1", 2, resumed=False, entries=entries), Scope()
    assert ask(later, scope, "pay", "y").wire == "step:pay#1"
    assert ask(later, scope, "pay", "y").wire == "step:pay#2"
    missing = ask(later, scope, "pay", "y")
    assert (missing.outcome, missing.wire) == (None, "step:pay#2@2")
    assert ask(later, scope, "pay", "x").wire == "step:pay#0"


def test_numbers_of_an_attempt_tell_themselves_from_those_before() -> None:
    journal, root = fresh(), Scope()
    items = [ask(journal, root, name) for name in "ab"]
    entries = [entry(items[0], number=1), entry(items[1], number=2)]
    later = Journal("run_1", 2, resumed=False, entries=entries)
    assert later.recorded() == []
    number = Delivery(later).number()
    joined = [entry(items[0], number=1), entry(items[1], number=number)]
    resumed = Journal("run_1", 2, resumed=True, entries=joined)
    assert resumed.recorded() == [(number, "step:b#0", False)]


def test_a_result_that_was_not_asked_for_is_waited_for_or_passed() -> None:
    journal, root = fresh(), Scope()
    entries = [entry(ask(journal, root, "a"), number=1)]
    delivery = Delivery(Journal("run_1", 1, resumed=True, entries=entries))
    assert delivery.next(may_ask=True, patient=True) is Hold.ASKED
    assert delivery.next(may_ask=False, patient=True) is Hold.NOTHING
    assert delivery.number() == 2
