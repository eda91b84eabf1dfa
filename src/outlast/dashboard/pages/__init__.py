"""The pages of the dashboard: one module each, and the list of all their routes."""

from outlast.dashboard.pages import (
    batches,
    errors,
    keys,
    queues,
    run,
    runs,
    schedules,
    search,
    settings,
    tasks,
    trial,
    usage,
    variables,
    versions,
    waitpoints,
    workers,
)

ROUTES = (
    *tasks.ROUTES,
    *trial.ROUTES,
    *runs.ROUTES,
    *run.ROUTES,
    *batches.ROUTES,
    *schedules.ROUTES,
    *queues.ROUTES,
    *waitpoints.ROUTES,
    *errors.ROUTES,
    *usage.ROUTES,
    *versions.ROUTES,
    *workers.ROUTES,
    *variables.ROUTES,
    *keys.ROUTES,
    *settings.ROUTES,
    *search.ROUTES,
)
