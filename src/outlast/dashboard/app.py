"""The dashboard application: pages and actions behind the desk, and the headers around them."""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from outlast.client import environment
from outlast.client import reference as client_reference
from outlast.client.errors import ApiError
from outlast.dashboard import live, rendering, statics
from outlast.dashboard.access import Access, Desk, Form, Person
from outlast.dashboard.api import Api
from outlast.dashboard.navigation import HOME, SECTIONS, Problem
from outlast.dashboard.pages import ROUTES
from outlast.dashboard.reference import reference
from outlast.dashboard.visit import Done, Moved, NotShown, Page, Shown, Visit

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
)
_SAID = "outlast_said"
_SAID_CHARS = 500
_REFUSED = 400


class _Build(Protocol):
    def __call__(self, request: Request) -> Awaitable[Response]: ...


def create_dashboard(api: ASGIApp, desk: Desk) -> ASGIApp:
    """Return the pages over an API application. Whoever mounts it puts the gate around it."""
    shop = _Dashboard(api, desk)
    return Starlette(
        routes=[
            Route("/static/{name}", statics.serve),
            Route("/docs", shop.docs),
            Route("/login", shop.login, methods=["GET", "POST"]),
            Route("/login/{code}", shop.login_by_link, methods=["GET", "POST"]),
            Route("/logout", shop.logout, methods=["POST"]),
            *(
                Route(f"/env/{{project}}/{{slug}}{route.path}", endpoint, methods=[method])
                for route in ROUTES
                for endpoint, method in (shop.endpoint(route),)
            ),
            Route("/env/{project}/{slug}/{rest:path}", shop.nowhere),
            Route("/{rest:path}", shop.elsewhere),
        ],
        exception_handlers={NotShown: shop.cannot},
    )


class _Dashboard:
    """Answers requests: who asks, may they, and what does the page say."""

    def __init__(self, api: ASGIApp, desk: Desk) -> None:
        self._api = api
        self._desk = desk
        self._access = Access(desk)
        self._writing = asyncio.Lock()
        self._reference: str | None = None

    def endpoint(self, route: Shown | Done) -> tuple[_Build, str]:
        """Return what answers a route, and its method."""
        if isinstance(route, Shown):
            return partial(self._guarded, partial(self._show, route)), "GET"
        return partial(self._guarded, partial(self._act, route)), "POST"

    async def elsewhere(self, request: Request) -> Response:
        """Lead short addresses such as `/runs/run_…` into the first environment."""
        person = await self._access.person(request)
        if person is None:
            return _to_login(request)
        path = request.path_params["rest"]
        places = await self._desk.places()
        if path.startswith("env/") or not places:
            return await self._problem(request, NotShown(404, f"there is no page /{path[:200]}"))
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{places[0].base}{quote(path) or HOME}{query}", 303)

    async def docs(self, request: Request) -> Response:
        """Show the reference of the API to everybody; it is no secret what can be called."""
        async with self._writing:
            if self._reference is None:
                found = await Api(self._api, "")(client_reference.retrieve())
                self._reference = await asyncio.to_thread(_written, found)
        return self._html(request, self._reference, 200)

    async def nowhere(self, request: Request) -> Response:
        """Say inside an environment that there is no such page; its own address leads home."""
        if not request.path_params["rest"]:
            return RedirectResponse(request.url.path + HOME, 303)

        async def miss(request: Request, _: Visit) -> Response:
            raise NotShown(404, f"there is no page {request.url.path[:200]}")

        return await self._guarded(miss, request)

    async def cannot(self, request: Request, problem: Exception) -> Response:
        """Say what the desk could not do: the database may be away."""
        assert isinstance(problem, NotShown)
        return await self._problem(request, problem)

    async def login(self, request: Request) -> Response:
        """Show the form, or try a name and a password."""
        if self._desk.is_open:
            return RedirectResponse("/", 303)
        if request.method == "GET":
            return self._plain(request, "login.html", code=None, wrong=False)
        form = await Form.read(request)
        secret = None
        if self._access.is_ours(request, form):
            secret = await self._desk.log_in(form.get("name"), form.get("password"))
        return await self._signed_in(request, secret, form.get("next"))

    async def login_by_link(self, request: Request) -> Response:
        """Show a button first: mail scanners and previews open links too."""
        code = request.path_params["code"]
        if request.method == "GET":
            return self._plain(request, "login.html", code=code, wrong=False)
        form = await Form.read(request)
        secret = None
        if self._access.is_ours(request, form):
            secret = await self._desk.follow_link(code)
        return await self._signed_in(request, secret, "")

    async def logout(self, request: Request) -> Response:
        """End the sign-in."""
        answer = RedirectResponse("/login", 303)
        if self._access.is_ours(request, await Form.read(request)):
            await self._access.forget(request, answer)
        return answer

    async def _signed_in(self, request: Request, secret: str | None, then: str) -> Response:
        if secret is None:
            return self._plain(request, "login.html", code=None, wrong=True, status=401)
        local = then.startswith("/") and not then.startswith(("//", "/\\"))
        answer = RedirectResponse(then if local else "/", 303)
        self._access.keep(answer, secret)
        person = await self._desk.person(secret)
        if person is not None:
            await self._desk.note(person, None, "log in", "", "done")
        return answer

    async def _guarded(
        self, answer: Callable[[Request, Visit], Awaitable[Response]], request: Request
    ) -> Response:
        """Find out who asks and where; answer with a page whatever goes wrong."""
        person = await self._access.person(request)
        if person is None:
            return _to_login(request)
        visit = None
        try:
            visit = await self._visit(request, person)
            return await answer(request, visit)
        except NotShown as problem:
            return await self._problem(request, problem, visit)
        except ApiError as error:
            status = error.status if error.status >= _REFUSED else 502
            return await self._problem(request, NotShown(status, error.message), visit)

    async def _visit(self, request: Request, person: Person) -> Visit:
        places = tuple(await self._desk.places())
        project, slug = request.path_params["project"], request.path_params["slug"]
        place = next((one for one in places if (one.project, one.slug) == (project, slug)), None)
        if place is None:
            raise NotShown(
                404, f"there is no environment {slug[:40]!r} of project {project[:80]!r}"
            )
        token = await self._desk.token(place, person.role)
        form = await Form.read(request) if request.method == "POST" else Form(())
        return Visit(
            request=request,
            person=person,
            place=place,
            places=places,
            csrf=self._access.csrf(request),
            api=Api(self._api, token, person=person.name),
            desk=self._desk,
            form=form,
        )

    async def _show(self, route: Shown, request: Request, visit: Visit) -> Response:
        if not person_may(visit.person, route):
            raise NotShown(
                403, f"this page is for the role {route.role}; you are {visit.person.role}"
            )
        if live.wants(request):
            return live.stream(partial(self._look, route, visit), lambda: self._desk.is_stopping)
        found = await route.show(visit)
        if isinstance(found, Moved):
            return RedirectResponse(visit.place.base + found.path, 303)
        return await self._page(visit, found)

    async def _look(self, route: Shown, visit: Visit) -> dict[str, str] | None:
        try:
            page = await route.show(visit)
        except (ApiError, NotShown):
            return {}  # nobody reads an error here; the next look may succeed
        if isinstance(page, Moved):
            return None
        parts = rendering.fragments(page, await self._around(visit))
        return parts if page.live else {**parts, live.LAST: ""}

    async def _act(self, route: Done, request: Request, visit: Visit) -> Response:
        if not self._access.is_ours(request, visit.form):
            raise NotShown(403, "this form is not from here or is old; go back, reload, try again")
        target = request.url.path.removeprefix(visit.place.base)
        if not person_may(visit.person, route):
            await self._desk.note(visit.person, visit.place, route.name, target, "refused")
            raise NotShown(403, f"this needs the role {route.role}; you are {visit.person.role}")
        try:
            outcome = await route.act(visit)
        except ApiError as error:
            await self._desk.note(visit.person, visit.place, route.name, target, error.message)
            raise
        if isinstance(outcome, Page):
            if outcome.status < _REFUSED:
                await self._desk.note(visit.person, visit.place, route.name, target, "done")
            return await self._page(visit, outcome)
        said = outcome.said if outcome.failed else "done"
        await self._desk.note(visit.person, visit.place, route.name, target, said)
        answer = RedirectResponse(visit.place.base + outcome.path, 303)
        if outcome.said:
            _say(answer, outcome, secure=self._desk.is_secure)
        return answer

    async def _page(self, visit: Visit, page: Page) -> Response:
        text = rendering.whole(page, await self._around(visit))
        return self._html(visit.request, text, page.status)

    async def _around(self, visit: Visit) -> dict[str, object]:
        """Return what the layout shows around every page."""
        return {
            "environment": await visit.ask(environment.retrieve()),
            "visit": visit,
            "sections": [one for one in SECTIONS if visit.person.role.reaches(one.role)],
            "here": visit.request.url.path.removeprefix(visit.place.base),
            "said": _said(visit.request),
            "is_open": self._desk.is_open,
        }

    async def _problem(
        self, request: Request, problem: NotShown, visit: Visit | None = None
    ) -> Response:
        view = Problem(problem.status, str(problem))
        if visit is not None:
            with contextlib.suppress(ApiError):  # the layout needs the API too
                return await self._page(visit, Page("problem.html", view, status=problem.status))
        return self._plain(request, "lost.html", status=problem.status, view=view)

    def _plain(
        self, request: Request, template: str, *, status: int = 200, **values: object
    ) -> Response:
        csrf = self._access.csrf(request)
        then = request.query_params.get("next", "")
        page = rendering.templates().get_template(template)
        return self._html(request, page.render(values, csrf=csrf, then=then), status)

    def _html(self, request: Request, text: str, status: int) -> Response:
        headers = {"content-security-policy": POLICY, "cache-control": "no-store"}
        answer = HTMLResponse(text, status, headers)
        self._access.keep_proof(request, answer)
        if _SAID in request.cookies:
            answer.delete_cookie(_SAID, path="/")
        return answer


def _written(found: dict[str, Any]) -> str:
    return rendering.templates().get_template("reference.html").render(view=reference(found))


def person_may(person: Person, route: Shown | Done) -> bool:
    """Return whether somebody may see a page or do something."""
    return person.role.reaches(route.role)


def _to_login(request: Request) -> Response:
    then = request.url.path if request.method == "GET" else ""
    return RedirectResponse(f"/login?next={then}" if then not in {"", "/"} else "/login", 303)


def _say(answer: Response, outcome: Moved, *, secure: bool) -> None:
    """Let the next page say what happened."""
    text = ("!" if outcome.failed else "") + outcome.said[:_SAID_CHARS]
    value = base64.urlsafe_b64encode(text.encode()).decode()
    answer.set_cookie(_SAID, value, max_age=60, path="/", secure=secure, httponly=True)


def _said(request: Request) -> Moved | None:
    """Return what the last action had to say."""
    value = request.cookies.get(_SAID)
    if not value:
        return None
    try:
        text = base64.urlsafe_b64decode(value).decode()
    except (binascii.Error, ValueError):
        return None
    return Moved("", text.removeprefix("!"), failed=text.startswith("!"))
