"""API keys: which there are, and new ones, which are shown once."""

from dataclasses import dataclass

from outlast.client import keys
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit
from outlast.protocol.keeping import KeyBody, KeyReply
from outlast.protocol.roles import Role

LIVES = (("", "for ever"), ("30d", "30 days"), ("90d", "90 days"), ("365d", "a year"))
GRACES = (("1d", "a day"), ("1h", "an hour"), ("0s", "not at all"))


@dataclass(frozen=True, kw_only=True)
class KeysView:
    """The keys, and the secret of one that was just made."""

    keys: tuple[KeyBody, ...]
    made: KeyReply | None = None

    @property
    def lives(self) -> tuple[tuple[str, str], ...]:
        """How long a key can live."""
        return LIVES

    @property
    def graces(self) -> tuple[tuple[str, str], ...]:
        """How long a rotated root key can go on working."""
        return GRACES


async def show(visit: Visit) -> Page:
    """Show the keys that work now."""
    return await _page(visit)


async def create_key(visit: Visit) -> Page:
    """Make a key and show its secret, this once."""
    name, life = visit.form.get("name").strip(), visit.form.get("expires")
    made = await visit.ask(keys.create(name, expires=life or None))
    return await _page(visit, made)


async def rotate_root_key(visit: Visit) -> Page:
    """Make a new root key and show it, this once."""
    made = await visit.ask(keys.rotate(visit.form.get("grace") or "1d"))
    return await _page(visit, made)


async def revoke_key(visit: Visit) -> Moved:
    """Let a key open nothing any more."""
    await visit.ask(keys.revoke(visit.path("key_id")))
    return Moved("keys", "the key is revoked: whoever holds it gets 401 from now on")


async def _page(visit: Visit, made: KeyReply | None = None) -> Page:
    found = await visit.ask(keys.list_all())
    return Page("keys.html", KeysView(keys=found.data, made=made))


ROUTES = (
    Shown("/keys", show, role=Role.ADMIN),
    Done("/keys", create_key, role=Role.ADMIN),
    Done("/keys/rotate", rotate_root_key, role=Role.ADMIN),
    Done("/keys/{key_id}/revoke", revoke_key, role=Role.ADMIN),
)
