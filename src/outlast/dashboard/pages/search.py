"""Search: leads from an id, a task or a tag to what it names."""

from urllib.parse import quote

from outlast.client import runs, tasks
from outlast.dashboard.visit import Moved, Shown, Visit, link
from outlast.protocol.ids import Prefix, is_id

_PLACES: tuple[tuple[Prefix, str], ...] = (
    ("run", "runs"),
    ("batch", "batches"),
    ("waitpoint", "waitpoints"),
    ("sched", "schedules"),
)
_ERROR = "error_"


async def search(visit: Visit) -> Moved:
    """Lead to what has this id, else to the task or the runs with the tag of this name."""
    wanted = visit.query("q").get("q", "").strip()
    if not wanted:
        return Moved("runs")
    for prefix, place in _PLACES:
        if is_id(prefix, wanted):
            return Moved(f"{place}/{wanted}")
    if wanted.startswith(_ERROR):
        return Moved(link("runs", error=wanted))
    of_task = await visit.ask(runs.list_page({"[taskIdentifier]": wanted}, size=1, after=None))
    if of_task.data:  # also of a task that the current version has no more
        return Moved(link("runs", task=wanted))
    known = (await visit.ask(tasks.list_page(size=100, search=wanted))).data
    if any(task.id == wanted for task in known):
        return Moved(f"tasks/{quote(wanted, safe='')}")
    return Moved(link("runs", tag=wanted))


ROUTES = (Shown("/search", search),)
