"""Templates: whole pages, and the parts of them that are sent again when they change."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from outlast.dashboard import words
from outlast.dashboard.statics import address
from outlast.dashboard.visit import Page, link

LAYOUT = "base.html"
LIVE = "live_"
"""How the names of the blocks begin that are sent again; each fills the element of its name."""
_INNER = re.compile(r'(<(\w+) id="(live_\w+)" data-part[^>]*>)(.*?)(</\2>)', re.DOTALL)
"""An element inside a block that is sent again by itself, of what holds no other of its kind."""


def whole(page: Page, around: Mapping[str, object]) -> str:
    """Return a page."""
    return templates().get_template(page.template).render(around, view=page.view, live=page.live)


def fragments(page: Page, around: Mapping[str, object]) -> dict[str, str]:
    """Return the live parts of a page, by the id of the element that each fills."""
    template = templates().get_template(page.template)
    context = template.new_context({**around, "view": page.view, "live": page.live})
    if template.name != LAYOUT:
        layout = templates().get_template(LAYOUT)
        for name, block in layout.blocks.items():
            context.blocks.setdefault(name, [block])
    parts: dict[str, str] = {}

    def take(inner: re.Match[str]) -> str:
        parts[inner[3]] = inner[4]
        return inner[1] + inner[5]

    for name, blocks in context.blocks.items():
        if name.startswith(LIVE):
            parts[name] = ""  # before those inside: it makes their elements
            parts[name] = _INNER.sub(take, "".join(blocks[0](context)))
    return parts


def warm() -> Iterator[None]:
    """Compile every template; without it the first who sees one waits for that."""
    for name in templates().list_templates():
        templates().get_template(name)
        yield


@lru_cache(maxsize=1)
def templates() -> Environment:
    """Return the templates, compiled at their first use."""
    made = Environment(
        loader=PackageLoader("outlast.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(
        pretty=words.pretty,
        ago=words.ago,
        exact=words.exact,
        zoned=words.zoned,
        clock=words.clock,
        span=words.span,
        coarse=words.coarse,
        until=words.between,
        status=words.status,
        css=words.css,
        count=words.count,
        size=words.size,
        plural=words.plural,
        share=words.share,
        segment=lambda text: quote(text, safe=""),
    )
    made.globals.update(link=link, static=address)
    made.globals["ui"] = made.get_template("ui.html").module
    return made
