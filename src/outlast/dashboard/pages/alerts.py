"""Alerts: who is told what goes wrong or goes live; made, changed, tested, turned off, deleted."""

from dataclasses import dataclass

from outlast.client import alerts
from outlast.client.errors import ApiError
from outlast.dashboard.snippets import VERIFYING
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit
from outlast.protocol.alerts import AlertBody, MadeAlert
from outlast.protocol.roles import Role

CHANNELS = (("webhook", "Webhook"), ("slack", "Slack"), ("email", "E-mail"))
TYPES = (
    ("alert.run.failed", "failed runs", "Runs that fail, crash or run out of time"),
    ("alert.error", "errors", "Errors that are new, or come back after they were resolved"),
    ("alert.deployment.success", "versions", "Versions that new runs start on"),
)
"""What an alert can tell: as the API, a list and a form call it."""

_INVALID = 422
_NOTHING = "choose at least one thing to tell"
_OPAQUE = "slack"
"""The channel whose address is a secret, so that what was typed is not shown again."""


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What stands in a form."""

    name: str = ""
    channel: str = "webhook"
    address: str = ""
    types: tuple[str, ...] = ("alert.run.failed", "alert.error")


@dataclass(frozen=True, kw_only=True)
class AlertsView:
    """The alerts, the secret of one that was just made, and the form for another."""

    alerts: tuple[AlertBody, ...]
    typed: Typed
    made: MadeAlert | None = None
    problem: str = ""

    @property
    def channels(self) -> tuple[tuple[str, str], ...]:
        """How somebody can be told."""
        return CHANNELS

    @property
    def types(self) -> tuple[tuple[str, str, str], ...]:
        """What can be told."""
        return TYPES

    @property
    def verifying(self) -> str:
        """The code that tells a webhook of ours from another's."""
        return VERIFYING


@dataclass(frozen=True, kw_only=True)
class AlertView:
    """One alert, and the form that changes it."""

    alert: AlertBody
    typed: Typed
    problem: str = ""

    @property
    def channel(self) -> str:
        """How somebody is told."""
        return dict(CHANNELS)[self.alert.channel]

    @property
    def types(self) -> tuple[tuple[str, str, str], ...]:
        """What can be told."""
        return TYPES


async def show(visit: Visit) -> Page:
    """Show the alerts."""
    return await _page(visit)


async def show_one(visit: Visit) -> Page:
    """Show the form that changes an alert."""
    found = await _find(visit)
    return Page("alert.html", AlertView(alert=found, typed=_typed(found)))


async def create_alert(visit: Visit) -> Page | Moved:
    """Make an alert; show the secret of a webhook, this once."""
    form = visit.form
    channel, address = form.get("channel"), form.get("address").strip()
    typed = Typed(
        name=form.get("name").strip(),
        channel=channel,
        address="" if channel == _OPAQUE else address,
        types=form.every("types"),
    )
    if not typed.types:
        return await _page(visit, typed=typed, problem=_NOTHING)
    try:
        made = await visit.ask(
            alerts.create(typed.name, channel=channel, address=address, types=typed.types)
        )
    except ApiError as error:
        return await _page(visit, typed=typed, problem=error.message)
    if made.secret is None:
        return Moved("alerts", f"{made.name} is made; send it a test")
    return await _page(visit, made=made)


async def change_alert(visit: Visit) -> Page | Moved:
    """Give an alert another name or other types."""
    typed = Typed(name=visit.form.get("name").strip(), types=visit.form.every("types"))
    problem = "" if typed.types else _NOTHING
    try:
        if not problem:
            await visit.ask(alerts.update(_id(visit), name=typed.name, types=typed.types))
    except ApiError as error:
        problem = error.message
    if problem:
        view = AlertView(alert=await _find(visit), typed=typed, problem=problem)
        return Page("alert.html", view, status=_INVALID)
    return Moved("alerts", f"{typed.name} is changed")


async def turn_on_alert(visit: Visit) -> Moved:
    """Turn an alert on."""
    found = await visit.ask(alerts.switch(_id(visit), enabled=True))
    return Moved("alerts", f"{found.name} is on; what happened meanwhile is not told")


async def turn_off_alert(visit: Visit) -> Moved:
    """Turn an alert off."""
    found = await visit.ask(alerts.switch(_id(visit), enabled=False))
    return Moved("alerts", f"{found.name} is off; what waited is not told")


async def test_alert(visit: Visit) -> Moved:
    """Send a test now, and say whether it arrived."""
    found = await visit.ask(alerts.test(_id(visit)))
    if found.delivered:
        return Moved("alerts", "the test has arrived")
    return Moved("alerts", f"the test has not arrived: {found.error}", failed=True)


async def delete_alert(visit: Visit) -> Moved:
    """Delete an alert."""
    await visit.ask(alerts.delete(_id(visit)))
    return Moved("alerts", "the alert is deleted, with what waited to be told")


async def _page(
    visit: Visit, *, typed: Typed | None = None, made: MadeAlert | None = None, problem: str = ""
) -> Page:
    found = await visit.ask(alerts.list_all())
    view = AlertsView(alerts=found.data, typed=typed or Typed(), made=made, problem=problem)
    return Page("alerts.html", view, status=_INVALID if problem else 200)


async def _find(visit: Visit) -> AlertBody:
    return await visit.ask(alerts.retrieve(_id(visit)))


def _id(visit: Visit) -> str:
    return visit.path("alert_id")


def _typed(found: AlertBody) -> Typed:
    return Typed(name=found.name, channel=found.channel, types=tuple(found.types))


ROUTES = (
    Shown("/alerts", show),
    Done("/alerts", create_alert, role=Role.ADMIN),
    Shown("/alerts/{alert_id}", show_one, role=Role.ADMIN),
    Done("/alerts/{alert_id}", change_alert, role=Role.ADMIN),
    Done("/alerts/{alert_id}/on", turn_on_alert, role=Role.ADMIN),
    Done("/alerts/{alert_id}/off", turn_off_alert, role=Role.ADMIN),
    Done("/alerts/{alert_id}/test", test_alert, role=Role.ADMIN),
    Done("/alerts/{alert_id}/delete", delete_alert, role=Role.ADMIN),
)
