"""The sections of the dashboard, in the order of the menu, and the page for what is not there."""

from dataclasses import dataclass

from outlast.dashboard.pages import ROUTES
from outlast.dashboard.visit import Shown


@dataclass(frozen=True)
class Section:
    """An entry of the menu. `key` is what one types after `g`."""

    title: str
    path: str
    key: str
    icon: str
    group: str


@dataclass(frozen=True)
class Problem:
    """Why there is nothing to see."""

    status: int
    message: str


_PLAN = (
    Section("Tasks", "tasks", "t", "task", "Work"),
    Section("Runs", "runs", "r", "run", "Work"),
    Section("Batches", "batches", "b", "batch", "Work"),
    Section("Schedules", "schedules", "s", "clock", "Work"),
    Section("Queues", "queues", "q", "queue", "Work"),
    Section("Waitpoints", "waitpoints", "w", "wait", "Work"),
    Section("Errors", "errors", "e", "error", "Insight"),
    Section("Usage", "usage", "u", "chart", "Insight"),
    Section("Versions", "versions", "v", "version", "Deploy"),
    Section("Workers", "workers", "o", "worker", "Deploy"),
    Section("Environment variables", "variables", "n", "variable", "Deploy"),
    Section("API keys", "keys", "k", "key", "Settings"),
    Section("Settings", "settings", "x", "settings", "Settings"),
)

_THERE = frozenset(route.path for route in ROUTES if isinstance(route, Shown))

SECTIONS = tuple(section for section in _PLAN if f"/{section.path}" in _THERE)
"""The menu: a section whose page is not there is not shown."""

HOME = "runs"
"""Where the address without a path leads."""
