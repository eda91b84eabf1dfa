"""The inspector's controls for development: whose page it is, what runs, and what can be broken."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.templating import Jinja2Templates
from outlast import tasks

from app.crossings import expire_trials
from app.exports.reset import reset_exports
from app.exports.start import start_export
from app.runs import ListedRun, list_runs
from app.settings import settings
from app.web.pages import back
from app.web.session import Caller
from local.mailbox import Mailbox
from scripts.seed import ORGANIZATIONS, USERS

router = APIRouter(prefix="/debug")
_templates = Jinja2Templates(Path(__file__).parent / "templates")

IN_LANE = 3
"""How many exports of each organization the lanes are filled with."""


@dataclass(frozen=True, slots=True)
class Lane:
    """The exports of one organization: one at a time, beside all others."""

    name: str
    is_running: bool
    done: int
    total: int
    waiting: int
    ended: int


@router.get("/controls")
async def controls(request: Request, caller: Caller) -> Response:
    """Show what can be broken."""
    users = {user: f"{name}, {_places(user)}" for user, name in USERS.items()}
    return _templates.TemplateResponse(request, "controls.html", {"users": users, "caller": caller})


@router.get("/lanes")
async def lanes(request: Request) -> Response:
    """Show the lanes of the queue `export`."""
    shown = [
        _lane(known.name, await list_runs(known.id)) for known in ORGANIZATIONS if known.invoices
    ]
    return _templates.TemplateResponse(request, "lanes.html", {"lanes": shown, "worker": _worker()})


@router.get("/mailbox")
async def mailbox(request: Request) -> Response:
    """Show the newest mails of this machine."""
    return _templates.TemplateResponse(request, "mailbox.html", {"mails": _mails()[:6]})


@router.get("/mails")
async def mails(request: Request) -> Response:
    """Show every mail of this machine, with its links."""
    return _templates.TemplateResponse(request, "mails.html", {"mails": _mails()})


@router.get("/dashboard")
async def dashboard(request: Request) -> Response:
    """Go to the platform's dashboard, signed in if whoever started the platform can do that."""
    if (make_link := getattr(request.app.state, "dashboard_link", None)) is None:
        return back(request, "`outlast dev` prints where the dashboard is", is_bad=True)
    return RedirectResponse(await make_link(), 303)


@router.post("/identity")
async def switch(request: Request, user_id: Annotated[str, Form()]) -> Response:
    """Be somebody else."""
    request.session.clear()
    request.session["user"] = user_id
    return RedirectResponse("/inspector", 303)


@router.post("/kill-worker")
async def kill_worker(request: Request) -> Response:
    """End the worker as a power cut would. Who keeps it alive starts another."""
    if (pid := _worker()) is None:
        return back(request, "there is no worker to kill", is_bad=True)
    os.kill(pid, signal.SIGKILL)
    return back(request, f"kill -9 {pid}: the next worker goes on after the last finished page")


@router.post("/reset")
async def reset(request: Request, caller: Caller) -> Response:
    """Forget the organization's exports, so that today's button starts another one."""
    count = await reset_exports(caller.organization_id)
    return back(request, f"{count} exports of {caller.organization.name} are forgotten")


@router.post("/fill-lanes")
async def fill_lanes(request: Request) -> Response:
    """Start three exports of each organization, as if they were those of three past days."""
    for before in range(1, IN_LANE + 1):
        for known in ORGANIZATIONS:
            if known.invoices:
                moment = datetime.now(UTC) - timedelta(days=before)
                await start_export(known.members[0], known.id, page_rows=50, moment=moment)
    return back(request, f"{IN_LANE} exports of each organization are queued")


@router.post("/sweep")
async def sweep(request: Request) -> Response:
    """Do what the cron service asks for each hour."""
    ended = await expire_trials(datetime.now(UTC))
    return back(request, f"{len(ended)} trials have ended")


@router.post("/lost-webhook")
async def lose_webhook(request: Request, caller: Caller) -> Response:
    """Let the customer pay for another plan, and the webhook get lost."""
    [own] = [one for one in ORGANIZATIONS if one.id == caller.organization_id]
    vendors = settings().payments_url.removesuffix("/payments")
    async with httpx.AsyncClient(base_url=vendors) as client:
        answer = await client.post(
            f"/customers/{own.customer_id}/plan", params={"plan": "scale", "lost": "true"}
        )
        answer.raise_for_status()
    return back(request, f"{own.name} pays for the plan scale, and nobody has told us")


@router.post("/reconcile")
async def reconcile(request: Request) -> Response:
    """Run the nightly reconciliation, as if a day had passed."""
    as_of = datetime.now(UTC) + timedelta(days=1, seconds=1)
    handle = await tasks.trigger("reconcile-billing", {"as_of": as_of})
    return back(request, f"the reconciliation is {handle.id}")


def _lane(name: str, listed: list[ListedRun]) -> Lane:
    open_ones = [run for run in listed if not run.is_completed]
    # The oldest that has begun is the one whose place it is.
    current = next((run for run in reversed(open_ones) if run.has_begun), None)
    return Lane(
        name=name,
        is_running=current is not None,
        done=current.pages_done if current else 0,
        total=(current.pages_total if current else None) or 1,
        waiting=len(open_ones) - (current is not None),
        ended=len(listed) - len(open_ones),
    )


def _mails() -> list[EmailMessage]:
    """Return what has arrived, newest first."""
    return Mailbox(settings().mailbox_folder).mails()[::-1]


def _places(user_id: str) -> str:
    return " and ".join(one.name for one in ORGANIZATIONS if user_id in one.members)


def _worker() -> int | None:
    """Return the worker's process id, if it lives."""
    with suppress(OSError, ValueError):
        pid = int(settings().worker_pid_path.read_text())
        os.kill(pid, 0)
        return pid
    return None
