from uuid import UUID

from scripts.seed import ORGANIZATIONS, USERS, organization


def test_there_are_four_organizations_and_six_users() -> None:
    assert [(known.slug, known.invoices) for known in ORGANIZATIONS] == [
        ("org_acme", 200),
        ("org_globex", 220),
        ("org_initech", 240),
        ("org_empty", 0),
    ]
    assert len(USERS) == 6
    assert {user for known in ORGANIZATIONS for user in known.members} == set(USERS)


def test_ids_are_the_same_on_every_machine() -> None:
    assert organization("org_acme").id == UUID("07aec651-6963-5726-a0ac-0493d1ca66a4")
