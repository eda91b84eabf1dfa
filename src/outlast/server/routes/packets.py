"""Packets: the handshakes for large values, and the sealed addresses behind them."""

from typing import Literal

from fastapi import APIRouter, Request, Response

from outlast.engine.errors import NotFound
from outlast.engine.packets import Packet
from outlast.engine.payloads import JSON, MAX_PAYLOAD_BYTES
from outlast.protocol.body import Body
from outlast.server.auth import authenticate
from outlast.server.contract import OPEN, READ_RUN, TEXT, WRITE_ALL, answer, key_or, promise
from outlast.server.problems import Problem, not_found
from outlast.server.routes.runs import require_run
from outlast.server.services import services

ADDRESSES = "/api/v1/packet-data/"
_JSON = "application/json"

router = APIRouter(tags=["packets"])


class UploadReply(Body):
    """Where to put a packet, and what to name as the payload."""

    presigned_url: str
    storage_path: str


class DownloadReply(Body):
    """Where to get a packet."""

    presigned_url: str


@router.put(
    "/api/v2/packets/{path:path}",
    response_model=UploadReply,
    **promise(WRITE_ALL),
)
async def upload(request: Request, path: str) -> Response:
    """Return where to put a packet; nothing is stored yet. No token of a browser may."""
    caller = await authenticate(request)
    caller.require_whole("write")
    packets = services(request).engine.packets
    sealed = packets.seal("put", caller.environment.id, path)
    url = packets.store.upload_url(caller.environment.id, path) or _url(request, sealed)
    return Response(UploadReply(presigned_url=url, storage_path=path).to_json(), media_type=_JSON)


@router.get(
    "/api/v1/packets/{path:path}",
    response_model=DownloadReply,
    **promise(key_or("read:packets:{path}")),
)
async def download(request: Request, path: str) -> Response:
    """Return where to get a packet."""
    caller = await authenticate(request)
    caller.require("read", packets=(path,))
    packets = services(request).engine.packets
    sealed = packets.seal("get", caller.environment.id, path)
    url = packets.store.download_url(caller.environment.id, path) or _url(request, sealed)
    return Response(DownloadReply(presigned_url=url).to_json(), media_type=_JSON)


@router.get(
    "/api/v1/runs/{run_id}/packets/{part}", response_model=DownloadReply, **promise(READ_RUN)
)
async def of_run(request: Request, run_id: str, part: Literal["payload", "output"]) -> Response:
    """Return where to get a run's payload or output."""
    caller, engine = await authenticate(request), services(request).engine
    require_run(caller, "read", await engine.runs.retrieve(caller.environment.id, run_id))
    sealed = engine.packets.seal(part, caller.environment.id, run_id)
    return Response(DownloadReply(presigned_url=_url(request, sealed)).to_json(), media_type=_JSON)


@router.put(
    ADDRESSES + "{sealed}",
    status_code=200,
    **promise(OPEN, body=TEXT, fails=(401, 413, 422, 503), answers={200: answer("It is kept")}),
)
async def put_data(request: Request, sealed: str) -> Response:
    """Take what belongs under an address; the address is the permission."""
    packets = services(request).engine.packets
    address = packets.open(sealed, "put")
    data = await request.body()
    if len(data) > MAX_PAYLOAD_BYTES:
        raise Problem(413, "payload_too_large", "a packet is at most 3 MB")
    content_type = request.headers.get("content-type", JSON).partition(";")[0].strip()
    try:
        await packets.save(address, Packet(content_type, data.decode()))
    except UnicodeDecodeError:
        raise Problem(400, "invalid_text", "a packet is UTF-8 text") from None
    return Response(status_code=200)


@router.get(
    ADDRESSES + "{sealed}",
    **promise(
        OPEN,
        fails=(401, 503),
        answers={200: answer("The packet, in the type that it was put with", TEXT, "*/*")},
    ),
)
async def get_data(request: Request, sealed: str) -> Response:
    """Give what an address opens; the address is the permission."""
    engine = services(request).engine
    address = engine.packets.open(sealed, "get", "payload", "output")
    if address.action == "get":
        return _data(await engine.packets.find(address.environment, address.path))
    found = await engine.runs.contents(address.environment, [address.path])
    if not found:
        raise not_found("Run")
    contents = found[0]
    value = contents.payload if address.action == "payload" else contents.output
    if value is None:
        raise NotFound(f"run {address.path} has no {address.action}")
    kind = contents.payload_type if address.action == "payload" else JSON
    return _data(Packet(kind, value))


def _data(packet: Packet) -> Response:
    """Answer with the exact type: a charset behind it would make the official client keep text."""
    reply = Response(packet.data.encode())
    reply.headers["content-type"] = packet.content_type
    reply.headers["x-content-type-options"] = "nosniff"
    return reply


def _url(request: Request, sealed: str) -> str:
    base = services(request).settings.api_url or str(request.base_url)
    return f"{base.rstrip('/')}{ADDRESSES}{sealed}"
