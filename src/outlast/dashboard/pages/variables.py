"""Environment variables: names, and values when somebody asks for one; made, changed, imported."""

from dataclasses import dataclass

from outlast.client import variables
from outlast.client.errors import ApiError
from outlast.dashboard.visit import Done, Moved, Page, Shown, Visit
from outlast.dashboard.words import plural
from outlast.protocol.dotenv import DotenvError, parse
from outlast.protocol.roles import Role
from outlast.protocol.variables import VariableBody

_INVALID = 422


@dataclass(frozen=True, kw_only=True)
class VariablesView:
    """The variables; the value of one that was asked for; what was wrong with a form."""

    variables: tuple[VariableBody, ...]
    revealed: VariableBody | None = None
    problem: str = ""
    name: str = ""
    """What was typed into the form that was refused; its value is not shown again."""


@dataclass(frozen=True, kw_only=True)
class VariableView:
    """One variable to be changed."""

    variable: VariableBody
    problem: str = ""


async def show(visit: Visit) -> Page:
    """Show the names."""
    return await _page(visit)


async def show_one(visit: Visit) -> Page:
    """Show a form for another value."""
    return Page("variable.html", VariableView(variable=await _find(visit)))


async def set_variable(visit: Visit) -> Page | Moved:
    """Make a variable."""
    name, secret = visit.form.get("name").strip(), bool(visit.form.get("secret"))
    request = variables.create(*_where(visit), name, _value(visit), secret=secret)
    try:
        await visit.ask(request)
    except ApiError as error:
        return await _page(visit, problem=error.message, name=name)
    return Moved("variables", f"{name} is stored; workers hear of it within seconds")


async def change_variable(visit: Visit) -> Page | Moved:
    """Give a variable another value."""
    name, secret = visit.path("name"), bool(visit.form.get("secret"))
    try:
        await visit.ask(variables.update(*_where(visit), name, _value(visit), secret=secret))
    except ApiError as error:
        view = VariableView(variable=await _find(visit), problem=error.message)
        return Page("variable.html", view, status=_INVALID)
    return Moved("variables", f"{name} is changed; workers hear of it within seconds")


async def reveal_variable(visit: Visit) -> Page:
    """Show a value: the audit log says who asked."""
    return await _page(visit, revealed=await _find(visit))


async def delete_variable(visit: Visit) -> Moved:
    """Delete a variable."""
    await visit.ask(variables.delete(*_where(visit), visit.path("name")))
    return Moved("variables", f"{visit.path('name')} is deleted")


async def import_variables(visit: Visit) -> Page | Moved:
    """Write all that a pasted file says, or nothing of it."""
    override, secret = bool(visit.form.get("override")), bool(visit.form.get("secret"))
    try:
        found = parse(visit.form.get("text"))
    except DotenvError as error:
        return await _page(visit, problem=str(error))
    if not found:
        return await _page(visit, problem="paste lines of NAME=value")
    request = variables.upload(*_where(visit), found, override=override, secret=secret)
    try:
        await visit.ask(request)
    except ApiError as error:
        return await _page(visit, problem=error.message)
    said = plural(len(found), "variable is", "variables are")
    return Moved("variables", f"{said} stored; workers hear of it within seconds")


async def _page(
    visit: Visit, *, problem: str = "", name: str = "", revealed: VariableBody | None = None
) -> Page:
    found = await visit.ask(variables.list_all(*_where(visit)))
    view = VariablesView(variables=found, problem=problem, name=name, revealed=revealed)
    return Page("variables.html", view, status=_INVALID if problem else 200)


async def _find(visit: Visit) -> VariableBody:
    return await visit.ask(variables.retrieve(*_where(visit), visit.path("name")))


def _where(visit: Visit) -> tuple[str, str]:
    return visit.place.project, visit.place.slug


def _value(visit: Visit) -> str:
    """Return what was typed; browsers send the ends of lines as they did in 1995."""
    return visit.form.get("value").replace("\r\n", "\n")


ROUTES = (
    Shown("/variables", show),
    Done("/variables", set_variable),
    Done("/variables/import-file", import_variables),
    Shown("/variables/{name}", show_one, role=Role.OPERATOR),
    Done("/variables/{name}", change_variable),
    Done("/variables/{name}/reveal", reveal_variable),
    Done("/variables/{name}/delete", delete_variable),
)
