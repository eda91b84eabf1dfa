"""Scopes of public tokens: `action:resource[:id]`, and whether they reach an object."""

from collections.abc import Collection, Iterable, Mapping

_IMPLIED = {"write": frozenset({"write", "trigger", "batchTrigger"})}
MAX_SCOPE_CHARS = 1024


def reaches(
    scopes: Iterable[str], action: str, resources: Mapping[str, Collection[str] | None]
) -> bool:
    """Return whether one of the scopes allows an action on one of the resources.

    `resources` maps a type to the ids that each count as the object (a run has its own id, its
    task's, its tags'); None asks for the whole type.
    """
    return any(_one_reaches(scope, action, resources) for scope in scopes)


def reaches_every(scopes: Collection[str], action: str, resource: str, ids: Iterable[str]) -> bool:
    """Return whether the scopes together allow an action on every one of the objects."""
    return all(reaches(scopes, action, {resource: (one,)}) for one in ids)


def exceeding(held: Collection[str], wanted: Iterable[str]) -> list[str]:
    """Return the wanted scopes that who holds the others may not hand out."""
    return [scope for scope in wanted if not any(_covers(one, scope) for one in held)]


def is_scope(text: str) -> bool:
    """Return whether the text is a scope by its form."""
    if text == "admin":
        return True
    action, _, rest = text.partition(":")
    return len(text) <= MAX_SCOPE_CHARS and action.isidentifier() | (action == "*") and bool(rest)


def _covers(held: str, wanted: str) -> bool:
    """Return whether everything that one scope allows is allowed by another."""
    if "admin" in (held, wanted):
        return held == "admin"
    may, _, where = held.partition(":")
    action, _, rest = wanted.partition(":")
    if may not in {"*", action} and action not in _IMPLIED.get(may, ()):
        return False
    return where in ("all", rest) or rest.startswith(f"{where}:")


def _one_reaches(scope: str, action: str, resources: Mapping[str, Collection[str] | None]) -> bool:
    if scope == "admin":
        return True
    granted, _, rest = scope.partition(":")
    if granted not in {"*", action} and action not in _IMPLIED.get(granted, ()):
        return False
    resource, limited, identifier = rest.partition(":")
    if resource == "all":
        return True
    if resource not in resources:
        return False
    ids = resources[resource]
    return not limited or (ids is not None and identifier in ids)
