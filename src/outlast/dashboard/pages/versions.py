"""Versions: what workers have brought, which one new runs start on, and going back to another."""

from collections import Counter
from dataclasses import dataclass

from outlast.client import deployments, environment
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit, link
from outlast.protocol.deployments import Deployment

PAGE_SIZE = 25


@dataclass(frozen=True, kw_only=True)
class VersionsView:
    """A page of versions."""

    versions: tuple[Deployment, ...]
    workers: Counter[str]
    """How many connected workers run each version."""
    newest: str | None
    older: str | None


async def show(visit: Visit) -> Page:
    """Show the newest versions."""
    after = visit.query("after").get("after")
    found = await visit.ask(deployments.list_page(size=PAGE_SIZE, after=after))
    connected = (await visit.ask(environment.retrieve())).workers
    older = found.pagination.next
    view = VersionsView(
        versions=found.data,
        workers=Counter(worker.version for worker in connected),
        newest="versions" if after else None,
        older=link("versions", after=older) if older else None,
    )
    return Page("versions.html", view, live=after is None)


async def promote_version(visit: Visit) -> Moved:
    """Let new runs start on a version."""
    version = visit.path("version")
    promoted = await visit.ask(deployments.promote(version))
    return Moved("versions", f"new runs start on {promoted.version}")


ROUTES = (
    Shown("/versions", show),
    Done("/versions/{version}/promote", promote_version),
)
