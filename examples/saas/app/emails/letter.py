"""A mail of the app: what it says, and how that becomes text and HTML."""

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail. Everything in it may come from users: the HTML escapes it."""

    subject: str
    greeting: str
    paragraphs: tuple[str, ...]
    why: str
    """Why the recipient gets it."""
    button: str = ""
    url: str = ""

    def as_text(self) -> str:
        """Return the plain part."""
        return _template("letter.txt").render(letter=self)

    def as_html(self) -> str:
        """Return the HTML part."""
        return _template("letter.html").render(letter=self)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("app.emails"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
