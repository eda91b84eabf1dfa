"""What a realtime request asks for and how far its caller has got, read from its parameters.

A feed keeps nothing on a server: the handle says what the feed is, the offset which state its
caller has seen. So it goes on with any server, also after a restart.
"""

import hashlib
import re
import time
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from outlast.engine.changes import InBatch, Only, Tagged, Target
from outlast.engine.reports import MAX_TAG, MAX_TAGS
from outlast.protocol.durations import parse_duration
from outlast.protocol.ids import id_floor
from outlast.protocol.realtime import BEGINNING, COLUMNS
from outlast.server.problems import Problem

LONGEST_LOOK_BACK = timedelta(hours=24)
_PINNED_TO_SECONDS = 10  # callers of the same tags share one list
_OFFSET = re.compile(r"(\d{1,16})_(\d{1,16})")
_HANDLE = re.compile(r"[0-9a-f]{16}-(\d{1,12})")


class Seen(msgspec.Struct, frozen=True):
    """The state that a caller has: when it was told, and the digest of what it was told."""

    at: int
    digest: int

    def __str__(self) -> str:
        return f"{self.at}_{self.digest}"

    def next(self, digest: int) -> "Seen":
        """Return the offset of a state that follows; it only ever grows."""
        if digest == self.digest:
            return self
        return Seen(max(self.at + 1, int(time.time() * 1000)), digest)


NOTHING = Seen(0, 0)


class Shape(msgspec.Struct, frozen=True):
    """A feed: the runs it is about, the columns it leaves out, and the handle that names it."""

    target: Target
    skipped: frozenset[str]
    handle: str


class Ask(msgspec.Struct, frozen=True):
    """A request for a shape. `seen` is None for a caller that has nothing; `live` may be held."""

    shape: Shape
    seen: Seen | None
    live: bool
    is_stale: bool
    """The handle is another feed's: the caller has to begin anew."""


def ask_for_run(environment: str, run: str, query: Mapping[str, str], mask: frozenset[str]) -> Ask:
    """Return what a request for one run asks. Raises `Problem`."""
    return _ask(environment, Only((run,)), query, mask)


def ask_for_batch(
    environment: str, batch: str, query: Mapping[str, str], mask: frozenset[str]
) -> Ask:
    """Return what a request for a batch asks. Raises `Problem`."""
    return _ask(environment, InBatch(batch), query, mask)


def ask_for_tags(
    environment: str, tags: tuple[str, ...], query: Mapping[str, str], mask: frozenset[str]
) -> Ask:
    """Return what a request for the runs with all these tags asks. Raises `Problem`.

    The window is pinned by the first request of a feed and stands in its handle.
    """
    pinned = _HANDLE.fullmatch(query.get("handle", ""))
    since = int(pinned[1]) if pinned else _look_back(query)
    target = Tagged(tags, id_floor("run", min(since, _now()) * 1000))
    return _ask(environment, target, query, mask, since=since)


def read_tags(query: Mapping[str, str]) -> tuple[str, ...]:
    """Return the tags of a request, in one order. Raises `Problem` for what no run can have."""
    tags = tuple(sorted({tag for tag in query.get("tags", "").split(",") if tag}))
    if not 1 <= len(tags) <= MAX_TAGS:
        raise Problem(400, "invalid_query", f"name 1 to {MAX_TAGS} tags: ?tags=a,b", param="tags")
    if any(len(tag) > MAX_TAG or "\0" in tag for tag in tags):
        raise Problem(
            400, "invalid_query", f"a tag is a text of up to {MAX_TAG} characters", param="tags"
        )
    return tags


def _ask(
    environment: str,
    target: Target,
    query: Mapping[str, str],
    mask: frozenset[str],
    *,
    since: int = 0,
) -> Ask:
    asked = frozenset(query.get("skipColumns", "").split(","))
    skipped = frozenset(
        column for column in mask | asked if column in COLUMNS and not COLUMNS[column].kept
    )
    named = msgspec.json.encode((environment, type(target).__name__, target, sorted(skipped)))
    digest = hashlib.blake2s(named, digest_size=8).hexdigest()
    shape = Shape(target, skipped, f"{digest}-{since}")
    seen = _offset(query.get("offset", BEGINNING))
    return Ask(
        shape,
        seen,
        live=query.get("live") == "true",
        is_stale=seen is not None and query.get("handle") != shape.handle,
    )


def _offset(text: str) -> Seen | None:
    if text == BEGINNING:
        return None
    found = _OFFSET.fullmatch(text)
    if found is None:
        raise Problem(
            400, "invalid_query", "offset must be -1 or one you were given", param="offset"
        )
    return Seen(int(found[1]), int(found[2]))


def _look_back(query: Mapping[str, str]) -> int:
    text = query.get("createdAt")
    seconds = LONGEST_LOOK_BACK.total_seconds() if not text else parse_duration(text)
    if seconds is None:
        raise Problem(
            400, "invalid_query", "createdAt must be a duration such as 1h", param="createdAt"
        )
    since = _now() - int(min(seconds, LONGEST_LOOK_BACK.total_seconds()))
    return since - since % _PINNED_TO_SECONDS


def _now() -> int:
    return int(time.time())
