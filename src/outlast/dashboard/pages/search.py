"""Search: leads from a run id, a tag or a task to what it names."""

from outlast.client import runs
from outlast.dashboard.visit import Moved, Shown, Visit, link
from outlast.protocol.ids import is_id


async def search(visit: Visit) -> Moved:
    """Lead to the run of this id, else to the runs of a task or a tag of this name."""
    wanted = visit.query("q").get("q", "").strip()
    if not wanted:
        return Moved("runs")
    if is_id("run", wanted):
        return Moved(f"runs/{wanted}")
    of_task = await visit.ask(runs.list_page({"[taskIdentifier]": wanted}, size=1, after=None))
    return Moved(link("runs", task=wanted) if of_task.data else link("runs", tag=wanted))


ROUTES = (Shown("/search", search),)
