"""Roles of people who look at an environment, and what each may ask of the API."""

from enum import StrEnum


class Role(StrEnum):
    """What somebody may do: look; act on runs, queues and schedules; keep keys and people too."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def reaches(self, needed: "Role") -> bool:
        """Return whether this role may do what another one may."""
        return _ORDER.index(self) >= _ORDER.index(needed)


_ORDER = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)

PAGE = "outlast.page"
"""The extension of an ASGI scope that marks a request of a page: of this process, no caller's."""

SCOPES: dict[Role, tuple[str, ...]] = {
    Role.VIEWER: ("read:all",),
    Role.OPERATOR: ("read:all", "write:all"),
    Role.ADMIN: ("admin",),
}
"""The scopes of the token that a role's requests carry."""
