"""The worker gateway: where workers connect, with an environment key."""

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from outlast.server.auth import authenticate
from outlast.server.contract import KEY, Schema, answer, operation, promise
from outlast.server.problems import Problem, respond
from outlast.server.services import services


async def worker(websocket: WebSocket) -> None:
    """Check the key before the handshake, then serve the link until it ends."""
    try:
        caller = await authenticate(websocket)
        caller.require_secret()
    except Problem as problem:
        await respond(problem, websocket.scope, websocket.receive, websocket.send)
        return
    await services(websocket).links.serve(websocket, caller.environment)


PATH = "/api/outlast/v1/worker"
routes = (WebSocketRoute(PATH, worker),)


def described() -> Schema:
    """Return what the document says of it: the handshake."""
    said = promise(KEY, fails=(404,), answers={101: answer("A WebSocket of MessagePack frames")})
    return {"get": operation("workers", "Connect a worker", worker.__doc__ or "", said)}
