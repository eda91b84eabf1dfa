"""The pages of the dashboard: one module each, and the list of all their routes."""

from outlast.dashboard.pages import (
    batch,
    queues,
    run,
    runs,
    schedules,
    search,
    versions,
    waitpoints,
)

ROUTES = (
    *runs.ROUTES,
    *run.ROUTES,
    *batch.ROUTES,
    *schedules.ROUTES,
    *queues.ROUTES,
    *waitpoints.ROUTES,
    *versions.ROUTES,
    *search.ROUTES,
)
