"""Pages: Jinja templates, and the one sentence that a redirect carries to the next page."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from fastapi.templating import Jinja2Templates

from app.result import Err, Ok
from app.settings import settings

_templates = Jinja2Templates(Path(__file__).parent / "templates")


def page(
    request: Request, template: str, values: dict[str, object], *, status: int = 200
) -> Response:
    """Return a whole page."""
    shown = values | {
        "app_name": settings().app_name,
        "has_debug": request.app.state.has_debug,
        "flash": request.session.pop("flash", None),
    }
    return _templates.TemplateResponse(request, template, shown, status_code=status)


def part(request: Request, template: str, values: dict[str, object]) -> Response:
    """Return a part of a page, which its script puts into place."""
    return _templates.TemplateResponse(request, template, values)


def back(request: Request, said: str, *, is_bad: bool = False) -> Response:
    """Return to the inspector, which shows what was said."""
    request.session["flash"] = {"text": said, "is_bad": is_bad}
    return RedirectResponse("/inspector", 303)


def back_with(request: Request, answer: Ok[Any] | Err, said: str) -> Response:
    """Return to the inspector with a success, or with why there was none."""
    if isinstance(answer, Err):
        return back(request, answer.message, is_bad=True)
    return back(request, said)


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%H:%M:%S")


def _money(cents: int) -> str:
    return f"{cents / 100:,.2f}"


_templates.env.filters.update(clock=_clock, money=_money)
