"""Self-signed tokens are taken for what they prove, and nothing else."""

import time

import jwt
import pytest

from outlast.engine.database import Database
from outlast.engine.errors import Unauthorized
from outlast.engine.keys import KeyRing, Keys
from outlast.engine.tenancy import NewProject, Tenancy
from outlast.engine.tokens import AUDIENCE, ISSUER, Tokens


class Desk:
    """One project and the service that checks its tokens."""

    def __init__(self, tokens: Tokens, project: NewProject) -> None:
        self.tokens = tokens
        self.project = project
        self.secret = project.keys["dev"]
        self.environment = project.environments[0]

    def claims(self, **changes: object) -> dict[str, object]:
        now = int(time.time())
        claims: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + 900,
            "sub": self.environment.id,
            "pub": True,
            "scopes": ["read:runs"],
        }
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, claims: dict[str, object], secret: str | None = None) -> str:
        return jwt.encode(claims, secret or self.secret, "HS256", headers={"typ": None})


@pytest.fixture
async def desk(database: Database) -> Desk:
    keys = Keys(database, KeyRing((KeyRing.generate(),)))
    tenancy = Tenancy(database, keys)
    project = await tenancy.create_project("Acme")
    return Desk(Tokens(database, keys, tenancy), project)


async def test_a_token_signed_by_the_caller_is_valid(desk: Desk) -> None:
    token = await desk.tokens.verify(desk.sign(desk.claims()))

    assert token.environment.id == desk.environment.id
    assert token.scopes == ("read:runs",)


async def test_a_clock_that_is_a_minute_ahead_or_behind_does_no_harm(desk: Desk) -> None:
    now = time.time()

    for changes in ({"iat": now + 50}, {"exp": now - 50}):
        await desk.tokens.verify(desk.sign(desk.claims(**changes)))


async def test_an_expired_token_says_so(desk: Desk) -> None:
    with pytest.raises(Unauthorized) as caught:
        await desk.tokens.verify(desk.sign(desk.claims(exp=time.time() - 100)))

    assert caught.value.code == "token_expired"


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"iat": None},
        {"iat": 4_102_444_800},  # the year 2100
        {"iss": "somebody"},
        {"aud": "somebody"},
        {"pub": False},
        {"pub": None},
        {"pub": "true"},
        {"sub": None},
        {"sub": 5},
        {"sub": "env_other"},
        {"sub": "env_\0"},
        {"scopes": "admin"},
        {"scopes": [1]},
        {"scopes": ["read:runs"] * 101},
    ],
    ids=str,
)
async def test_a_token_that_lacks_something_is_refused(
    desk: Desk, changes: dict[str, object]
) -> None:
    claims = desk.claims(**changes)
    text = (
        desk.sign(claims)
        if claims.get("sub") != 5
        else jwt.api_jws.encode(b'{"sub": 5}', desk.secret, "HS256")
    )

    with pytest.raises(Unauthorized):
        await desk.tokens.verify(text)


async def test_the_key_of_another_environment_does_not_check(desk: Desk) -> None:
    with pytest.raises(Unauthorized):
        await desk.tokens.verify(desk.sign(desk.claims(), desk.project.keys["prod"]))


async def test_no_other_algorithm_is_taken(desk: Desk) -> None:
    for text in (
        jwt.encode(desk.claims(), "", "none"),
        jwt.encode(desk.claims(), desk.secret.ljust(64, "x"), "HS512"),
        "a.b.c",
        "",
        "x" * 10_000,
    ):
        with pytest.raises(Unauthorized):
            await desk.tokens.verify(text)
