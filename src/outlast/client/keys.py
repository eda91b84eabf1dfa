"""Keys of the environment, and the audit log; for root keys and admins."""

from urllib.parse import quote

import msgspec

from outlast.client.requests import Request, model
from outlast.protocol.keeping import DeedPage, KeyList, KeyReply

_BASE = "/api/outlast/v1"


def list_all() -> Request[KeyList]:
    """Return the request for the keys that work now."""
    return Request("GET", f"{_BASE}/keys", model(KeyList))


def create(name: str, *, expires: str | None = None) -> Request[KeyReply]:
    """Return the request that makes an additional key, for ever or for a duration."""
    said = {"name": name} if expires is None else {"name": name, "expires": expires}
    return Request("POST", f"{_BASE}/keys", model(KeyReply), body=msgspec.json.encode(said))


def rotate(grace: str) -> Request[KeyReply]:
    """Return the request that makes a new root key; the present one works on for a while."""
    body = msgspec.json.encode({"grace": grace})
    return Request("POST", f"{_BASE}/keys/rotate", model(KeyReply), body=body)


def revoke(key_id: str) -> Request[None]:
    """Return the request that lets an additional key open nothing any more."""
    return Request("DELETE", f"{_BASE}/keys/{quote(key_id, safe='')}", lambda _: None)


def deeds(*, before: str | None = None, size: int = 50) -> Request[DeedPage]:
    """Return the request for what people did on the pages, newest first."""
    query = [("limit", str(size))]
    if before is not None:
        query.append(("before", before))
    return Request("GET", f"{_BASE}/deeds", model(DeedPage), query=tuple(query))
