"""Settings of the environment, and the audit log of what people did in it."""

from dataclasses import dataclass

from outlast.client import environment, keys, queues
from outlast.client.errors import ApiError
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit, link
from outlast.protocol.bodies import EnvironmentBody
from outlast.protocol.keeping import DeedBody
from outlast.protocol.queues import EnvironmentStand
from outlast.protocol.roles import Role

PAGE_SIZE = 50
_FIELDS = {
    "limit": "concurrencyLimit",
    "days": "retentionDays",
    "log_days": "logRetentionDays",
    "stream_days": "streamRetentionDays",
}
"""Inputs of the form, and what they set."""


@dataclass(frozen=True, kw_only=True)
class SettingsView:
    """What can be set, and what only is so."""

    place: EnvironmentBody
    stand: EnvironmentStand
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class AuditView:
    """A page of the audit log."""

    deeds: tuple[DeedBody, ...]
    newest: str | None
    older: str | None


async def show(visit: Visit) -> Page:
    """Show how the environment is set."""
    return await _page(visit)


async def pause_environment(visit: Visit) -> Moved:
    """Let no run of the environment start."""
    await visit.ask(queues.pause_environment(paused=True))
    return Moved("settings", "the environment is paused: nothing starts, what runs goes on")


async def resume_environment(visit: Visit) -> Moved:
    """Let runs start again."""
    await visit.ask(queues.pause_environment(paused=False))
    return Moved("settings", "the environment goes on")


async def change_limits(visit: Visit) -> Page | Moved:
    """Set how many runs execute at once, and how long ended ones are kept."""
    typed = {wire: visit.form.get(name).strip() for name, wire in _FIELDS.items()}
    wrong = [text for text in typed.values() if text and not (text.isascii() and text.isdecimal())]
    if wrong or not typed["concurrencyLimit"]:
        return await _page(visit, "a limit is a whole number; days are one too, or nothing")
    limits = {wire: int(text) if text else None for wire, text in typed.items()}
    try:
        await visit.ask(queues.change_environment(limits))
    except ApiError as error:
        return await _page(visit, error.message)
    return Moved("settings", "the limits are set")


async def show_audit(visit: Visit) -> Page:
    """Show what people did, newest first."""
    before = visit.query("before").get("before")
    found = await visit.ask(keys.deeds(before=before, size=PAGE_SIZE))
    view = AuditView(
        deeds=found.data,
        newest="audit" if before else None,
        older=link("audit", before=str(found.next)) if found.next else None,
    )
    return Page("audit.html", view)


async def _page(visit: Visit, problem: str = "") -> Page:
    view = SettingsView(
        place=await visit.ask(environment.retrieve()),
        stand=await visit.ask(queues.stand_of_environment()),
        problem=problem,
    )
    return Page("settings.html", view, status=422 if problem else 200)


ROUTES = (
    Shown("/settings", show),
    Done("/settings/pause", pause_environment),
    Done("/settings/resume", resume_environment),
    Done("/settings/limits", change_limits, role=Role.ADMIN),
    Shown("/audit", show_audit, role=Role.ADMIN),
)
