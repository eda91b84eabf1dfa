"""Filters and pages of run lists: whitelisted conditions, and the run id as the cursor."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, permutations, product
from typing import Literal

import msgspec

from outlast.engine.errors import InvalidRequest
from outlast.engine.queries import Statement
from outlast.protocol.ids import Prefix, id_floor
from outlast.protocol.statuses import FINAL, NAMES, Status

MAX_PAGE = 100
DEFAULT_PAGE = 25
_MAX_VALUES = 100
_MOST_BRANCHES = 64
_MAX_VALUE_CHARS = 600
_CURSOR = re.compile(r"[0-9a-z]{1,64}")
_CLOCK_SLACK_MS = 60_000
"""An id's time is a server's idea of the database's clock; `created_at` decides."""


_OF_VERSION = """{list}.version_id = (
  select v.id from outlast.version v where v.environment_id = $1 and v.name = ?::text)"""
"""Looked up in the query: a version that is known to be common would be looked for along all runs,
and those of an old one are not where the newest runs are."""
_IN_OWN_QUEUE = "r.queue = 'task/' || r.task"
_IN_OTHER_QUEUE = "{list}.queue = ${number}::text and not {list}.queue = 'task/' || {list}.task"
_OWN_QUEUE = "task/"
"""A run in the queue of its task is found by the task's index, any other by the queue's."""
_WITH_TAG = """exists (
  select from outlast.tag x where x.run_id = r.id and x.tag = any (?::text[]))"""
_COLUMNS = ("task", "machine", "batch", "schedule", "original", "parent", "queue", "test")
_LISTS = {
    **{name: (f"outlast.run {name}", f"{name}.id") for name in ("r", *_COLUMNS)},
    "state": ("outlast.run_state state", "state.run_id"),
    "version": ("outlast.run_state version", "version.run_id"),
    "tag": ("outlast.tag tag", "tag.run_id"),
    "bulk": ("outlast.bulk_run bulk", "bulk.result_id"),
    "error": ("outlast.error_run error", "error.run_id"),
}
"""What can list runs along an index, in the order of the ids: a table by another name, and the id.

Each filter has a list of its own, so that nothing but its index is read: of two conditions on one
row an index would tell one only, and the row the other.
"""
_OF_KIND = {
    has_ended: "({list}.status in ("
    + ", ".join(f"'{status.value}'" for status in Status if (status in FINAL) is has_ended)
    + ")) is true"
    for has_ended in (True, False)
}
"""What an index on statuses holds, in its own words: a query has to say the same to use it."""


class RunFilters(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs to list. Several values of one field mean any of them; fields are combined."""

    statuses: tuple[Status, ...] = ()
    tasks: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    machines: tuple[str, ...] = ()
    batch: str | None = None
    bulk: str | None = None
    """A bulk action: the runs that it canceled or made."""
    schedule: str | None = None
    error: str | None = None
    """The fingerprint of failures: the runs that failed so."""
    replay_of: str | None = None
    parent: str | None = None
    root_only: bool = False
    is_test: bool | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first: older than `after`, or newer than `before`, not both."""

    size: int = DEFAULT_PAGE
    after: str | None = None
    before: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """A composed query for ids and its values; it asks for one row more than the page holds.

    `merges`: at least two tables have an index with the order of the ids within what is wanted, so
    that both may be walked side by side. One alone must not be walked beside all runs there are.
    """

    statement: Statement
    values: list[object]
    merges: bool


class _Composer:
    """Collects conditions; `?` in a fragment becomes the next parameter, `$1` the environment.

    What is one of several values becomes one branch of a union for each: an index gives the order
    of the ids within one value only. `plain`: nothing is asked of the run beside its lists, so that
    one of them can be the beginning of the query.
    """

    def __init__(self, environment_id: str, *, plain: bool) -> None:
        self.sources: list[str] = []
        self.lists: list[str] = []
        """Of `_LISTS`: what lists the runs that are wanted along an index."""
        self.others: list[str] = []
        """Conditions that no index is for."""
        self.values: list[object] = [environment_id]
        self._plain = plain
        self._choices: list[Sequence[tuple[str, ...]]] = []
        self._bounds: list[str] = []

    def branches(self, order: Literal["asc", "desc"]) -> list[list[str]]:
        """Return the conditions of every branch."""
        return [
            [*chosen, *self.others, *self._bounds, *self._leaps(chosen, order)]
            for chosen in map(list, map(chain.from_iterable, product(*self._choices)))
        ]

    def _leaps(self, chosen: Sequence[str], order: Literal["asc", "desc"]) -> Iterator[str]:
        """Let no list be walked where another one has nothing yet, and none that ends before."""
        operator, back = ("<=", "asc") if order == "desc" else (">=", "desc")
        listing = [
            name for name in self.lists if any(each.startswith(f"{name}.") for each in chosen)
        ]
        for one, other in permutations(listing, 2):
            first = self._end(one, chosen, order)
            yield f"{_LISTS[other][1]} {operator} {first}"
            yield f"{self._end(other, chosen, back)} {operator} {first}"

    def _end(self, name: str, chosen: Sequence[str], order: str) -> str:
        """Return the query for the first id, in an order, of what a branch lists."""
        table, run_id = _LISTS[name]
        own = [each for each in (*chosen, *self._bounds) if each.startswith(f"{name}.")]
        return (
            f"(select {run_id} from {table} where {_all_of((_scope(name), *own))} "  # noqa: S608 - ours
            f"order by {run_id} {order} limit 1)"
        )

    def choose(self, options: Sequence[tuple[str, ...]]) -> None:
        """Add options of which one has to hold, with all of its conditions."""
        branches = math.prod(map(len, self._choices)) * len(options)
        if branches <= _MOST_BRANCHES:
            self._choices.append(options)
        else:
            self.others.append(f"({' or '.join(f'({_all_of(one)})' for one in options)})")

    def add_one_of(self, fragment: str, values: Sequence[str]) -> None:
        """Add a condition that holds for one of the values."""
        self.choose([(self.filled(fragment, value),) for value in dict.fromkeys(values)])

    def add(self, fragment: str, value: object) -> None:
        """Add a condition that no index is for."""
        self.others.append(self.filled(fragment, value))

    def filled(self, fragment: str, value: object) -> str:
        """Return a condition with its value."""
        self.values.append(value)
        return fragment.replace("?", f"${len(self.values)}")

    def list_by(self, name: str) -> str:
        """Take one of `_LISTS` in, for conditions that it has an index for; return its name."""
        if self._plain and name in _COLUMNS and "r" not in self.lists:
            name = "r"
        else:
            table, run_id = _LISTS[name]
            self.sources.append(f"join {table} on {run_id} = r.id and {_scope(name)}")
        self.lists.append(name)
        return name

    def bound(self, operator: str, run_id: str) -> None:
        """Bound the ids of all tables, because the planner concludes none from another.

        Call it once everything is joined.
        """
        self.values.append(run_id)
        self._bounds += [
            f"{_LISTS[name][1]} {operator} ${len(self.values)}::text"
            for name in dict.fromkeys(["r", *self.lists])
        ]


def _all_of(conditions: Sequence[str]) -> str:
    return " and ".join(conditions)


def _scope(name: str) -> str:
    return "bulk.result_id is not null" if name == "bulk" else f"{name}.environment_id = $1"


def statuses_named(names: Iterable[str]) -> tuple[Status, ...]:
    """Return the statuses of these API names, new or legacy ones. Raises `InvalidRequest`."""
    found: dict[Status, None] = {}
    for name in names:
        matches = [
            status for status, each in NAMES.items() if name.upper() in {each.api, each.legacy}
        ]
        if not matches:
            known = ", ".join(sorted({each.api for each in NAMES.values()}))
            raise InvalidRequest(
                f"{name[:40]!r} is no status of a run; use {known}", param="filter[status]"
            )
        found.update(dict.fromkeys(matches))
    return tuple(found)


def compose(base: Statement, environment_id: str, filters: RunFilters, page: Page) -> Choice:
    """Return the query for the ids of a page of checked filters. `base` begins it."""
    composer = _Composer(environment_id, plain=_is_plain(filters))
    _add_choices(composer, filters)
    _add_facts(composer, filters)
    _add_range(composer, filters)
    order: Literal["asc", "desc"] = "desc"
    if page.before is not None:
        composer.bound(">", page.before)
        order = "asc"
    elif page.after is not None:
        composer.bound("<", page.after)
    tail = f"{order} limit {page.size + 1}"
    begin = "\n".join([base.sql, *composer.sources, "where r.environment_id = $1"])
    parts = [
        "\n".join([begin, *(f"and {one}" for one in conditions), f"order by r.id {tail}"])
        for conditions in composer.branches(order)
    ]
    sql = parts[0]
    if len(parts) > 1:
        together = "\nunion\n".join(f"({part})" for part in parts)
        sql = f"select id from ({together}) r order by id {tail}"  # noqa: S608 - of our own parts
    return Choice(Statement(base.name, sql, ()), composer.values, len(composer.lists) > 1)


def counted(choice: Choice) -> Choice:
    """Return the query for how many ids a choice has, up to the size of its page."""
    sql = f"select count(*)::int as count from ({choice.statement.sql}) c"  # noqa: S608 - ours
    return msgspec.structs.replace(choice, statement=Statement(choice.statement.name, sql, ()))


def _add_choices(composer: _Composer, filters: RunFilters) -> None:
    if len(filters.tags) > _MOST_BRANCHES:
        composer.add(_WITH_TAG, list(filters.tags))
    elif filters.tags:
        composer.list_by("tag")
        composer.add_one_of("tag.tag = ?::text", filters.tags)
    if filters.statuses or filters.versions:
        _add_state(composer, filters)
    for name, column, values in (
        ("task", "task", filters.tasks),
        ("machine", "machine", filters.machines),
        ("batch", "batch_id", _one(filters.batch)),
        ("schedule", "schedule_id", _one(filters.schedule)),
        ("original", "replayed_from", _one(filters.replay_of)),
        ("parent", "parent_id", _one(filters.parent)),
    ):
        if values:
            composer.add_one_of(f"{composer.list_by(name)}.{column} = ?::text", values)
    if filters.queues:
        _add_queues(composer, filters)


def _add_state(composer: _Composer, filters: RunFilters) -> None:
    composer.list_by("state")
    if not filters.versions:
        composer.choose([(_of_status(status),) for status in filters.statuses])
        return
    named = [composer.filled(_OF_VERSION, version) for version in dict.fromkeys(filters.versions)]
    # Of ended runs an index has the versions; the others are few, or have none yet.
    going = [status for status in filters.statuses or Status if status not in FINAL]
    options: list[tuple[str, ...]] = [
        (_of_status(one), each.format(list="state")) for one in going for each in named
    ]
    ended: list[tuple[str, ...]] = [(_of_status(one),) for one in filters.statuses if one in FINAL]
    name = composer.list_by("version") if ended else "state"
    kind = f"{name}.environment_id = $1 and {_OF_KIND[True].format(list=name)}"
    for one in ended or ([] if filters.statuses else [()]):
        options += [(*one, f"{kind} and {each.format(list=name)}") for each in named]
    composer.choose(options)


def _add_facts(composer: _Composer, filters: RunFilters) -> None:
    if filters.bulk is not None:
        composer.list_by("bulk")
        composer.add_one_of("bulk.bulk_id = ?::text", _one(filters.bulk))
    if filters.error is not None:
        composer.list_by("error")
        composer.add_one_of("error.fingerprint = ?::text", _one(filters.error))
    if filters.is_test:
        composer.choose([(f"{composer.list_by('test')}.is_test",)])
    elif filters.is_test is not None:
        composer.others.append("not r.is_test")
    if filters.root_only:
        composer.others.append("r.parent_id is null")


def _is_plain(filters: RunFilters) -> bool:
    """Return whether an index has all there is to ask of the run itself."""
    return (
        filters.is_test is not False
        and not filters.root_only
        and (filters.created_from, filters.created_to) == (None, None)
        and not any(queue.startswith(_OWN_QUEUE) for queue in filters.queues)
    )


def _one(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def _of_status(status: Status) -> str:
    """Return the condition of a status, with what makes the index of its kind fit.

    Of one that has not ended the planner would multiply how rare it is with how rare its kind is,
    and take ten thousand queued runs for a hundred: the word comes from a query it does not look
    into.
    """
    word = f"'{status.value}'" if status in FINAL else f"(select '{status.value}')"
    kind = _OF_KIND[status in FINAL].format(list="state")
    return f"state.environment_id = $1 and state.status = {word} and {kind}"


def _add_queues(composer: _Composer, filters: RunFilters) -> None:
    name = composer.list_by("queue")
    options: list[tuple[str, ...]] = []
    for queue in dict.fromkeys(filters.queues):
        composer.values.append(queue)
        options.append((_IN_OTHER_QUEUE.format(list=name, number=len(composer.values)),))
        task = queue.removeprefix(_OWN_QUEUE)
        if task != queue and task in (filters.tasks or (task,)):
            composer.values.append(task)
            options.append((f"{name}.task = ${len(composer.values)}::text", _IN_OWN_QUEUE))
    composer.choose(options)


def _add_range(composer: _Composer, filters: RunFilters) -> None:
    """Bound the creation time; the ids, which are in its order, do the searching."""
    if filters.created_from is not None:
        composer.add("r.created_at >= ?::timestamptz", filters.created_from)
        composer.bound(">=", _floor(filters.created_from, -_CLOCK_SLACK_MS))
    if filters.created_to is not None:
        composer.add("r.created_at <= ?::timestamptz", filters.created_to)
        composer.bound("<", _floor(filters.created_to, _CLOCK_SLACK_MS))


def _floor(moment: datetime, slack: int) -> str:
    return id_floor("run", max(0, int(moment.timestamp() * 1000) + slack))


def check(filters: RunFilters, page: Page) -> None:
    """Hold filters and page to their limits. Raises `InvalidRequest` with the field."""
    check_page(page, "run")
    for param, values in (
        ("filter[taskIdentifier]", filters.tasks),
        ("filter[version]", filters.versions),
        ("filter[tag]", filters.tags),
        ("filter[queue]", filters.queues),
        ("filter[machine]", filters.machines),
        ("filter[batch]", (filters.batch or "",)),
        ("filter[bulkAction]", (filters.bulk or "",)),
        ("filter[schedule]", (filters.schedule or "",)),
        ("filter[error]", (filters.error or "",)),
        ("filter[replayOf]", (filters.replay_of or "",)),
        ("filter[parent]", (filters.parent or "",)),
    ):
        _check_values(param, values)


def check_page(page: Page, prefix: Prefix) -> None:
    """Hold a page of things with ids of this prefix to its limits. Raises `InvalidRequest`."""
    if not 1 <= page.size <= MAX_PAGE:
        raise InvalidRequest(f"a page holds 1 to {MAX_PAGE} items", param="page[size]")
    if page.after is not None and page.before is not None:
        raise InvalidRequest("give page[after] or page[before], not both", param="page[before]")
    for param, cursor in (("page[after]", page.after), ("page[before]", page.before)):
        if cursor is not None and not _CURSOR.fullmatch(cursor.removeprefix(f"{prefix}_")):
            raise InvalidRequest("this is no cursor of this list", param=param)


def _check_values(param: str, values: tuple[str, ...]) -> None:
    if len(values) > _MAX_VALUES:
        raise InvalidRequest(f"{param} takes at most {_MAX_VALUES} values", param=param)
    for value in values:
        if len(value) > _MAX_VALUE_CHARS or "\0" in value or not _is_utf8(value):
            raise InvalidRequest(f"{param} holds a value that no run can have", param=param)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
