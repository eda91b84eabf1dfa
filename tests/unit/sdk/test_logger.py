"""The logger, and what metadata has besides its plain changes."""

import json
import logging

import pytest

from fake_runtime import FakeRuntime
from outlast import logger, metadata
from outlast.protocol.metadata import path_of
from outlast.sdk import runtime
from outlast.sdk.errors import OutsideRunWarning, UsageError
from outlast.sdk.logger import MAX_ATTRIBUTES


def test_lines_carry_level_and_attributes(run: FakeRuntime) -> None:
    logger.debug("below the level of the project")
    logger.log("a")
    logger.info("b", {"n": 1})
    logger.warn("c")
    logger.error("d")

    said = [(words.level, words.message, words.attributes) for words in run.words]
    assert said == [
        ("LOG", "a", None),
        ("INFO", "b", '{"n":1}'),
        ("WARN", "c", None),
        ("ERROR", "d", None),
    ]
    assert run.echoed[1] == "INFO  b"


def test_spans_nest_and_lines_know_theirs(run: FakeRuntime) -> None:
    with logger.trace("outer", {"a": 1}), logger.trace("inner"):
        logger.info("inside")
    with pytest.raises(ValueError, match="why"), logger.trace("fails"):
        raise ValueError("why")

    said = [(words.kind, words.message, words.span, words.parent) for words in run.words]
    assert said == [
        ("start", "outer", None, None),
        ("start", "inner", None, "span_1"),
        ("line", "inside", "span_2", None),
        ("end", "inner", "span_2", None),
        ("end", "outer", "span_1", None),
        ("start", "fails", None, None),
        ("end", "ValueError: why", "span_6", None),
    ]
    assert run.words[-1].level == "ERROR"


def test_too_many_attributes_leave_a_mark(run: FakeRuntime) -> None:
    logger.info("many", {str(n): n for n in range(MAX_ATTRIBUTES + 1)})
    logger.info("large", {"text": "x" * 100_000})

    for words in run.words:
        assert list(json.loads(words.attributes or "")) == ["outlast"]


def test_outside_a_run_the_logger_is_a_standard_one(caplog: pytest.LogCaptureFixture) -> None:
    assert runtime.current() is None
    with caplog.at_level(logging.DEBUG), logger.trace("span"):
        logger.warn("careful")

    [record] = caplog.records
    assert (record.name, record.message) == ("outlast.logger", "careful")


async def test_flush_and_refresh_reach_the_run(run: FakeRuntime) -> None:
    await metadata.flush()
    await metadata.refresh()

    assert run.stores == [False, True]


def test_update_sets_several_keys_and_get_follows_paths(run: FakeRuntime) -> None:
    metadata.update({"a": {"b": [1, 2]}, "c": 3})

    assert [(one.type, one.path) for one in run.operations] == [("set", ("a",)), ("set", ("c",))]
    assert metadata.get("$.a.b[1]") == 2
    assert metadata.get("$.a.b[9]", "none") == "none"
    with pytest.raises(UsageError, match="metadata is an object"):
        metadata.replace([1])  # type: ignore[arg-type]


def test_flushing_outside_a_run_warns() -> None:
    with pytest.warns(OutsideRunWarning):
        metadata.flush_sync()


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("plain.key", ("plain.key",)),
        ("$.a.b", ("a", "b")),
        ("$.a[0].b", ("a", "0", "b")),
        ("$.a['x y'][\"z\"]", ("a", "x y", "z")),
        ("constructor", ("constructor",)),
    ],
)
def test_a_key_is_literal_or_a_path(key: str, path: tuple[str, ...]) -> None:
    assert path_of(key) == path


@pytest.mark.parametrize("key", ["$.", "$.a[", "$.a..b", "__proto__", "$.a.prototype"])
def test_a_key_that_no_browser_must_set_is_refused(run: FakeRuntime, key: str) -> None:
    with pytest.raises(UsageError):
        metadata.set(key, 1)
    assert run.operations == []
