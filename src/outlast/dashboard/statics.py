"""Style sheets, scripts and pictures: read once, named after their content, kept by browsers."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


@dataclass(frozen=True)
class _File:
    data: bytes
    media_type: str
    digest: str


def address(name: str) -> str:
    """Return the path of a file; it changes with the content, so it is kept for ever."""
    return f"/static/{name}?v={_all()[name].digest}"


async def serve(request: Request) -> Response:
    """Answer with a file, by its name only."""
    found = _all().get(request.path_params["name"])
    if found is None:
        return Response("not found", 404, media_type="text/plain")
    kept = "public, max-age=31536000, immutable"
    asked = request.query_params.get("v")
    headers = {
        "etag": f'"{found.digest}"',
        "cache-control": kept if asked == found.digest else "no-cache",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(found.data, headers=headers, media_type=found.media_type)


@lru_cache(maxsize=1)
def _all() -> dict[str, _File]:
    made = {}
    for path in (files("outlast.dashboard") / "static").iterdir():
        kind = _TYPES.get(path.name.rpartition(".")[2])
        if kind is not None:
            data = path.read_bytes()
            made[path.name] = _File(data, kind, hashlib.blake2b(data, digest_size=8).hexdigest())
    return made
