"""The inspector: the export and everything around it on one page."""

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.crossings import find_memberships
from app.queries.invoices import count_invoices
from app.queries.members import find_member
from app.queries.recent import audit_tail, inbox, latest_export, recent_refunds
from app.schema import PlanEntitlement
from app.tenant import tenant_db
from app.web.pages import page, part
from app.web.session import Caller, SignedIn

router = APIRouter()


@router.get("/")
async def home() -> Response:
    """There is one page to see."""
    return RedirectResponse("/inspector", 303)


@router.get("/inspector")
async def show(request: Request, caller: Caller) -> Response:
    """Show the page; its script keeps it moving."""
    async with tenant_db(caller.organization_id) as session:
        user = await find_member(session, caller.organization_id, caller.user_id)
        counted = await count_invoices(session, caller.organization_id)
        latest = await latest_export(session, caller.user_id)
        tail = await _tail(session, caller)
    organizations = await find_memberships(caller.user_id)
    values = {"user": user, "latest": latest, "organizations": organizations}
    return page(request, "inspector.html", values | tail | {"invoices": counted.rows})


@router.get("/inspector/tail")
async def show_tail(request: Request, caller: Caller) -> Response:
    """Show again what changes by itself: the same template as in the page."""
    async with tenant_db(caller.organization_id) as session:
        return part(request, "tail.html", await _tail(session, caller))


async def _tail(session: AsyncSession, caller: SignedIn) -> dict[str, object]:
    return {
        "caller": caller,
        "audit": await audit_tail(session),
        "inbox": await inbox(session, caller.user_id),
        "refunds": await recent_refunds(session),
        "entitlement": await session.get(PlanEntitlement, caller.organization_id),
    }
