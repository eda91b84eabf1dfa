"""The pages of the dashboard: one module each, and the list of all their routes."""

from outlast.dashboard.pages import run, runs, search

ROUTES = (
    *runs.ROUTES,
    *run.ROUTES,
    *search.ROUTES,
)
