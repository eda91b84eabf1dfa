"""A payload's schema becomes a readable contract, and a form becomes a payload again."""

import json
from datetime import date
from typing import Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from outlast.dashboard.contracts import Mistyped, compose, example, fields, spread


class Range(BaseModel):
    since: date
    days: int = Field(default=30, ge=1, le=90)


class Export(BaseModel):
    organization_id: UUID = Field(description="whose invoices")
    period: Range
    format: Literal["csv", "json"] = "csv"
    emails: list[str] = Field(default_factory=list, max_length=5)
    note: str | None = None
    draft: bool = False


SCHEMA = Export.model_json_schema()
ORG = "3f0c7a52-9a1e-4c8a-b6de-2f6f2a8f1d10"


def test_a_contract_reads_like_a_sentence() -> None:
    rows = {field.name: (field.says, field.is_required) for field in fields(SCHEMA)}

    assert rows == {
        "organization_id": ("UUID", True),
        "period.since": ("date", True),
        "period.days": ("whole number, 1 to 90", False),
        "format": ('one of "csv", "json"', False),
        "emails": ("list of text, at most 5 items", False),
        "note": ("text or nothing", False),
        "draft": ("yes or no", False),
    }


def test_what_is_typed_becomes_a_payload_that_the_task_takes() -> None:
    shown = fields(SCHEMA)
    typed = {field.name: "" for field in shown} | {
        "organization_id": ORG,
        "period.since": "2026-01-31",
        "format": '"json"',
        "emails": '["ada@example.com"]',
        "draft": "true",
    }
    by_key = {field.key: typed[field.name] for field in shown}

    text = compose(shown, by_key.__getitem__)

    assert text is not None
    made = Export.model_validate_json(text)
    assert (made.format, made.draft, made.period.days) == ("json", True, 30)
    assert "note" not in json.loads(text)
    assert spread(shown, json.loads(text)) == {key: value for key, value in by_key.items() if value}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [("organization_id", "", "is required: UUID"), ("period.days", "many", "is not JSON")],
)
def test_a_field_that_is_wrong_is_named(name: str, text: str, reason: str) -> None:
    shown = fields(SCHEMA)
    typed = {"organization_id": ORG, "period.since": "2026-01-31", name: text}
    by_key = {field.key: typed.get(field.name, "") for field in shown}

    with pytest.raises(Mistyped, match=f"{name} {reason}"):
        compose(shown, by_key.__getitem__)


def test_a_payload_of_one_value_has_one_field() -> None:
    [field] = fields(TypeAdapter(str).json_schema())

    assert field.name == "payload"
    assert compose([field], lambda _: 'say "hi"') == '"say \\"hi\\""'
    assert compose([field], lambda _: "") is None


def test_without_a_schema_anything_goes() -> None:
    [field] = fields(None)

    assert (field.control, field.says) == ("json", "anything")
    assert compose([field], lambda _: '{"a": 1}') == '{"a": 1}'


def test_an_example_fits_its_own_contract() -> None:
    made = Export.model_validate(example(SCHEMA))

    assert made.format == "csv"


class Tree(BaseModel):
    name: str
    children: list["Tree"] = []
    left: "Tree | None" = None


def test_a_type_that_holds_itself_ends() -> None:
    rows = {field.name: field.says for field in fields(Tree.model_json_schema())}

    assert rows["name"] == "text"
    assert rows["left"] == "Tree or nothing"
    assert example(Tree.model_json_schema()) == {"name": "text"}
