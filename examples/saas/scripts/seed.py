"""Fills the database with the same data every time: truncate, then insert, in one transaction.

Run it from the folder of the example: `ROWS=50000 python -m scripts.seed`. It never touches the
platform: the history of runs is not the app's data.
"""

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import NAMESPACE_DNS, UUID, uuid5

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.db import connect
from app.schema import (
    Base,
    EmailSuppression,
    Invoice,
    Member,
    Organization,
    PlanEntitlement,
    User,
)
from app.settings import SettingsError, settings

NAMESPACE = uuid5(NAMESPACE_DNS, "saas.outlast.example")
FIRST_DAY = date(2025, 1, 2)
LAST_EVENT = datetime(2025, 12, 1, tzinfo=UTC)
PASSWORD = "correct horse"  # noqa: S105 - of everybody in the sample data, and of nobody else
# Its hash, made once: the same data every time.
_HASH = (
    "$argon2id$v=19$m=65536,t=3,p=4$NcA3NKx9FfOWRak9X1kFbQ"
    "$m1pAY2CnxgFju1L4jqfCQM8+GU9/QxMf9yynTuxCyeE"
)
CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class SeedOrganization:
    """An organization of the seed; `members` are user ids, the first is the owner."""

    slug: str
    name: str
    invoices: int
    members: tuple[str, ...]
    plan: str = "team"
    status: str = "active"
    trial_ends_at: datetime | None = None
    paid_plan: str = ""
    """What the payment provider knows, if that is something else: a webhook got lost."""

    @property
    def id(self) -> UUID:
        """The id, made from the slug: the same on every machine."""
        return uuid5(NAMESPACE, self.slug)

    @property
    def customer_id(self) -> str:
        """Its number at the payment provider."""
        return f"cus_{self.slug}"


ORGANIZATIONS = (
    SeedOrganization("org_acme", "Acme, Inc.", 200, ("user_ada", "user_ben")),
    SeedOrganization(
        "org_globex", 'Globex "Worldwide" GmbH', 220, ("user_cleo", "user_ben"), paid_plan="scale"
    ),
    SeedOrganization(
        "org_initech",
        "Initech & Söhne",
        240,
        ("user_dan", "user_eve"),
        status="trialing",
        trial_ends_at=LAST_EVENT,
    ),
    SeedOrganization("org_empty", "Empty Shelf Ltd", 0, ("user_fay",), plan="solo"),
)
USERS = {
    "user_ada": "Ada Lindqvist",
    "user_ben": "Ben Okafor",
    "user_cleo": "Cleo Marchetti",
    "user_dan": "Dan Novák",
    "user_eve": "Eve Tanaka",  # her address is suppressed
    "user_fay": "Fay Dubois",
}
SUPPRESSED = "user_eve"

_CUSTOMERS = (
    "Harbour Lights",
    "Müller, Schmidt & Partner",
    'The "Corner" Bakery',
    "東京商店",
    "O'Neill Freight",
    "Papelería Ñandú",
    "Plain & Simple",
)
_WORK = (
    "Subscription",
    "Consulting, on site",
    "Setup\nand training",
    'License "Pro", yearly',
    "Support; extended",
    "Hosting",
)


def organization(slug: str) -> SeedOrganization:
    """Return the organization with this slug."""
    return next(known for known in ORGANIZATIONS if known.slug == slug)


def email_of(user_id: str) -> str:
    """Return the address of a user of the seed."""
    return f"{user_id.removeprefix('user_')}@example.com"


def crowd(size: int) -> tuple[SeedOrganization, ...]:
    """Return organizations that have a plan and nothing else: what a reconciliation needs."""
    return tuple(
        SeedOrganization(f"org_{number:04d}", f"Customer {number}", 0, ())
        for number in range(1, size + 1)
    )


def paid_plans(
    known: tuple[SeedOrganization, ...] = ORGANIZATIONS,
) -> dict[str, tuple[str, str]]:
    """Return what the payment provider knows: each customer's plan and its status."""
    return {one.customer_id: (one.paid_plan or one.plan, one.status) for one in known}


async def seed(
    owner_url: str, *, rows: int | None = None, more: tuple[SeedOrganization, ...] = ()
) -> None:
    """Replace all data. `rows` gives `org_acme` that many invoices."""
    engine = connect(owner_url, pool_size=1)
    try:
        async with engine.begin() as connection:
            tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
            await connection.execute(text(f"truncate {tables}"))
            await _insert_people(connection, ORGANIZATIONS + more)
            for place, known in enumerate(ORGANIZATIONS):
                count = rows if rows is not None and place == 0 else known.invoices
                for chunk in _chunks(known, count):
                    await connection.execute(insert(Invoice), chunk)
    finally:
        await engine.dispose()


async def _insert_people(
    connection: AsyncConnection, organizations: tuple[SeedOrganization, ...]
) -> None:
    await connection.execute(
        insert(Organization),
        [{"id": known.id, "slug": known.slug, "name": known.name} for known in organizations],
    )
    await connection.execute(insert(PlanEntitlement), [_entitlement(one) for one in organizations])
    await connection.execute(
        insert(User),
        [
            {"id": key, "name": name, "email": email_of(key), "password_hash": _HASH}
            for key, name in USERS.items()
        ],
    )
    await connection.execute(
        insert(Member),
        [
            {
                "organization_id": known.id,
                "user_id": user_id,
                "role": "owner" if place == 0 else "member",
            }
            for known in organizations
            for place, user_id in enumerate(known.members)
        ],
    )
    await connection.execute(
        insert(EmailSuppression), [{"email": email_of(SUPPRESSED), "reason": "hard bounce"}]
    )


def _entitlement(known: SeedOrganization) -> dict[str, object]:
    return {
        "organization_id": known.id,
        "customer_id": known.customer_id,
        "plan": known.plan,
        "status": known.status,
        "trial_ends_at": known.trial_ends_at,
        "last_event_at": LAST_EVENT,
    }


def _chunks(known: SeedOrganization, count: int) -> Iterator[list[dict[str, object]]]:
    # The slug seeds the generator, so one organization's rows do not depend on another's.
    dice = random.Random(known.slug)  # noqa: S311 - sample data
    for first in range(1, count + 1, CHUNK):
        numbers = range(first, min(first + CHUNK, count + 1))
        yield [_invoice(known, number, dice) for number in numbers]


def _invoice(known: SeedOrganization, number: int, dice: random.Random) -> dict[str, object]:
    issued_on = FIRST_DAY + timedelta(days=number % 360)
    return {
        "id": uuid5(known.id, f"invoice-{number}"),
        "organization_id": known.id,
        "number": number,
        "customer": dice.choice(_CUSTOMERS),
        "description": f"{dice.choice(_WORK)} #{number}",
        "amount_cents": dice.randint(900, 250_000),
        "currency": dice.choice(("EUR", "USD", "GBP")),
        "status": dice.choices(("paid", "open", "void"), weights=(8, 3, 1))[0],
        "issued_on": issued_on,
        "due_on": issued_on + timedelta(days=30),
    }


def main() -> None:
    """Seed the database that the settings name; `ROWS` makes the first organization large."""
    if settings().database_owner_url is None:
        raise SettingsError("DATABASE_OWNER_URL is missing. see .env.example for every variable")
    rows = os.environ.get("ROWS")
    asyncio.run(seed(str(settings().database_owner_url), rows=int(rows) if rows else None))
    print("the database is seeded")


if __name__ == "__main__":
    try:
        main()
    except (SettingsError, OSError) as error:
        sys.exit(f"seed: {error}")
