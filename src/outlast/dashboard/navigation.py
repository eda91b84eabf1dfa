"""The sections of the dashboard, in the order of the menu, and the page for what is not there."""

from dataclasses import dataclass

from outlast.dashboard.pages import ROUTES
from outlast.dashboard.visit import Shown
from outlast.protocol.roles import Role


@dataclass(frozen=True)
class Section:
    """An entry of the menu. `key` is what one types after `g`."""

    title: str
    path: str
    key: str
    icon: str
    group: str

    @property
    def role(self) -> Role:
        """Who may see its page."""
        return _ROLES[f"/{self.path}"]


@dataclass(frozen=True)
class Problem:
    """Why there is nothing to see."""

    status: int
    message: str


_ROLES = {route.path: route.role for route in ROUTES if isinstance(route, Shown)}

SECTIONS = (
    Section("Tasks", "tasks", "t", "task", "Work"),
    Section("Runs", "runs", "r", "run", "Work"),
    Section("Batches", "batches", "b", "batch", "Work"),
    Section("Schedules", "schedules", "s", "clock", "Work"),
    Section("Queues", "queues", "q", "queue", "Work"),
    Section("Waitpoints", "waitpoints", "w", "wait", "Work"),
    Section("Errors", "errors", "e", "error", "Insight"),
    Section("Alerts", "alerts", "l", "bell", "Insight"),
    Section("Usage", "usage", "u", "chart", "Insight"),
    Section("Versions", "versions", "v", "version", "Deploy"),
    Section("Workers", "workers", "o", "worker", "Deploy"),
    Section("Variables", "variables", "n", "variable", "Environment"),
    Section("API keys", "keys", "k", "key", "Environment"),
    Section("Settings", "settings", "x", "settings", "Environment"),
    Section("Audit log", "audit", "a", "list", "Environment"),
)
"""The menu."""

HOME = "tasks"
"""Where the address without a path leads."""
