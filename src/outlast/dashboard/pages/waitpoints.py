"""Waitpoints: the tokens that runs wait for, what answered them, and the form that answers."""

from dataclasses import dataclass
from typing import get_args

from outlast.client import waitpoints
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit, link
from outlast.dashboard.words import is_json
from outlast.protocol.waitpoints import ListedToken, TokenDetail, TokenStatus

PAGE_SIZE = 25
STATUSES: tuple[str, ...] = get_args(TokenStatus)

_FILTERS = {"status": "[status]", "tag": "[tags]"}
"""The names in the URL of the page, and those of the API."""


@dataclass(frozen=True, kw_only=True)
class WaitpointsView:
    """A page of tokens."""

    tokens: tuple[ListedToken, ...]
    filters: dict[str, str]
    newest: str | None
    older: str | None

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses that can be asked for."""
        return STATUSES


@dataclass(frozen=True)
class WaitpointView:
    """One token, and what was typed to complete it."""

    token: TokenDetail
    typed: str = ""
    problem: str = ""


async def show(visit: Visit) -> Page:
    """Show the newest tokens of those that the URL asks for."""
    filters = visit.query(*_FILTERS)
    after = visit.query("after").get("after")
    found = await visit.ask(
        waitpoints.list_page(
            {_FILTERS[name]: value for name, value in filters.items()}, size=PAGE_SIZE, after=after
        )
    )
    older = found.pagination.next
    view = WaitpointsView(
        tokens=found.data,
        filters=filters,
        newest=link("waitpoints", **filters) if after else None,
        older=link("waitpoints", **filters, after=older) if older else None,
    )
    return Page("waitpoints.html", view, live=after is None)


async def show_one(visit: Visit) -> Page:
    """Show one token."""
    found = await visit.ask(waitpoints.retrieve(visit.path("waitpoint_id")))
    return Page("waitpoint.html", WaitpointView(found), live=found.status == "WAITING")


async def complete_waitpoint(visit: Visit) -> Page | Moved:
    """Complete a token with the JSON of the form; empty is no value."""
    waitpoint_id = visit.path("waitpoint_id")
    data = visit.form.get("data").strip()
    if data and not is_json(data):
        found = await visit.ask(waitpoints.retrieve(waitpoint_id))
        problem = "the value is not JSON; a text needs quotes"
        return Page("waitpoint.html", WaitpointView(found, data, problem), status=422)
    await visit.ask(waitpoints.complete(waitpoint_id, data or None))
    return Moved(f"waitpoints/{waitpoint_id}", f"{waitpoint_id} is completed")


ROUTES = (
    Shown("/waitpoints", show),
    Shown("/waitpoints/{waitpoint_id}", show_one),
    Done("/waitpoints/{waitpoint_id}", complete_waitpoint),
)
