"""Personal tokens of who is signed in: which there are, and new ones, which are shown once."""

from collections.abc import Sequence
from dataclasses import dataclass

from outlast.dashboard.access import EVERYBODY, PersonalToken
from outlast.dashboard.visit import Done, Moved, NotShown, Page, Shown, Visit
from outlast.protocol.roles import Role

LIVES = (("90", "90 days"), ("30", "30 days"), ("365", "a year"), ("", "for ever"))


@dataclass(frozen=True, kw_only=True)
class PersonalTokensView:
    """The tokens, and the secret of one that was just made."""

    tokens: Sequence[PersonalToken]
    made: str = ""

    @property
    def lives(self) -> tuple[tuple[str, str], ...]:
        """How many days a token can live."""
        return LIVES


async def show(visit: Visit) -> Page:
    """Show the tokens that work now."""
    return await _page(visit)


async def create_personal_token(visit: Visit) -> Page:
    """Make a token and show it, this once."""
    _require_account(visit)
    life = visit.form.get("days")
    if life not in dict(LIVES):
        raise NotShown(422, "choose how long the token lives")
    name, days = visit.form.get("name").strip(), int(life) if life else None
    return await _page(visit, await visit.desk.make_personal_token(visit.person, name, days))


async def revoke_personal_token(visit: Visit) -> Moved:
    """Let a token open nothing any more."""
    _require_account(visit)
    await visit.desk.revoke_personal_token(visit.person, visit.path("token_id"))
    said = "the token is revoked: whoever holds it gets 401 from now on"
    return Moved("personal-tokens", said)


async def _page(visit: Visit, made: str = "") -> Page:
    _require_account(visit)
    tokens = await visit.desk.personal_tokens(visit.person)
    return Page("personal_tokens.html", PersonalTokensView(tokens=tokens, made=made))


def _require_account(visit: Visit) -> None:
    if visit.person is EVERYBODY:
        raise NotShown(
            404, "nobody logs in here; make an account and its token with `outlast users`"
        )


ROUTES = (
    Shown("/personal-tokens", show),
    Done("/personal-tokens", create_personal_token, role=Role.VIEWER),
    Done("/personal-tokens/{token_id}/revoke", revoke_personal_token, role=Role.VIEWER),
)
