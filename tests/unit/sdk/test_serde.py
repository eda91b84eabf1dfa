"""Nothing is lost between a value and its JSON without a word."""

import json
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, NewType, TypeVar
from uuid import UUID

import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, computed_field

from outlast import PayloadError, UsageError
from outlast.sdk.serde import Codec, decode_packet


def codec(annotation: Any) -> Codec[Any]:
    return Codec(lambda: annotation, subject="payload", owner="task t", error=PayloadError)


class Color(Enum):
    RED = "red"


class Page(BaseModel):
    number: int


class NumberedPage(Page):
    title: str


class Book(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = Field(alias="bookTitle")
    pages: list[Page] = []

    @computed_field
    def size(self) -> int:
        return len(self.pages)


@dataclass
class Point:
    x: int
    y: float = 0.0


class Named(typing_extensions.TypedDict):
    name: str


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 2**70),
        (UUID, UUID(int=7)),
        (date, date(2026, 1, 2)),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (Decimal, Decimal("1.10")),
        (bytes, b"\xff\x00"),
        (set[int], {1, 2}),
        (tuple[int, str], (1, "a")),
        (Color, Color.RED),
        (Point, Point(1)),
        (Named, {"name": "a"}),
        (Book, Book(bookTitle="a", pages=[Page(number=1)])),
        (Page | NumberedPage, NumberedPage(number=1, title="a")),
        (int | None, None),
        (Any, {"a": [1, None, "x"]}),
    ],
)
def test_a_value_comes_back_equal(annotation: Any, value: object) -> None:
    subject = codec(annotation)

    assert subject.decode(subject.encode(value)) == value


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=json_values)
def test_any_json_comes_back_equal(value: object) -> None:
    subject = codec(Any)

    assert subject.decode(subject.encode(value)) == value


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        (Any, {"a": [1.0, math.nan]}, r"payload\.a\[1\] is not a finite number"),
        (Point, Point(1, math.inf), r"payload\.y is not a finite number"),
        (Any, {"a": {1: 2}}, r"payload\.a has a key that is no text"),
        (dict[int, str], {1: "a"}, "payload has a key that is no text"),
        (
            Book,
            Book(bookTitle="a", pages=[NumberedPage(number=1, title="b")]),
            r"payload\.pages\[0\]\.title would be lost",
        ),
        (Page, NumberedPage(number=1, title="b"), r"payload\.title would be lost"),
        (Any, object(), "has no JSON form"),
        (Page, {"number": "seven"}, r"\.number must be a valid integer, .*, not a text of 5 ch"),
        (date, datetime(2026, 1, 1, 1, tzinfo=UTC), "payload: "),
    ],
)
def test_what_would_be_lost_is_refused_with_its_path(
    annotation: Any, value: object, said: str
) -> None:
    with pytest.raises(PayloadError, match=said):
        codec(annotation).encode(value)


def test_of_many_problems_the_first_are_told() -> None:
    with pytest.raises(PayloadError, match=r"payload\[4\] must .*; and more$") as refused:
        codec(list[int]).encode(["x"] * 100)

    assert "payload[5]" not in str(refused.value)


def test_a_field_that_is_missing_is_named() -> None:
    with pytest.raises(PayloadError, match=r"payload\.number is missing"):
        codec(Page).encode({})


def test_errors_never_show_the_value() -> None:
    with pytest.raises(PayloadError) as refused:
        codec(Page).decode('{"number": "hunter2-secret"}')

    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


T = TypeVar("T")
Token = NewType("Token", SecretStr)


class Box(BaseModel, Generic[T]):
    content: T


class Login(BaseModel):
    name: str
    tokens: list[Token]


@dataclass
class Account:
    login: Login | None


@pytest.mark.parametrize(
    ("annotation", "path"),
    [
        (SecretStr, "payload"),
        (dict[str, list[SecretStr]], "payload"),
        (Account, r"payload\.login\.tokens"),
        (Box[SecretStr], r"payload\.content"),
    ],
)
def test_secrets_are_refused_by_their_declaration(annotation: Any, path: str) -> None:
    with pytest.raises(UsageError, match=rf"^{path} of task t is a pydantic secret"):
        _ = codec(annotation).adapter


def test_an_annotation_without_json_names_the_fix() -> None:
    with pytest.raises(UsageError, match="use a pydantic model"):
        _ = codec(Codec).adapter


def test_packets_of_other_clients_are_read() -> None:
    superjson = (
        '{"json":{"number":1,"gone":null},"meta":{"values":{"gone":["undefined"],"at":["Date"]}}}'
    )

    assert decode_packet(codec(Page), superjson, "application/super+json", "t") == Page(number=1)
    assert decode_packet(codec(Any), superjson, "application/super+json", "t") == {"number": 1}
    assert decode_packet(codec(str), "plain text", "text/plain", "t") == "plain text"
    assert decode_packet(codec(int), "5", "application/json", "t") == 5
    with pytest.raises(PayloadError, match="unknown"):
        decode_packet(codec(int), "5", "application/store", "t")


def test_a_schema_is_there_when_one_can_say_it() -> None:
    schema = codec(Book).schema()

    assert schema is not None
    assert '"bookTitle"' in schema
    assert codec(Any).schema() is None


class Letter(BaseModel):
    to: str
    subject: str
    body: str


def test_a_schema_keeps_the_order_of_the_code() -> None:
    """Forms made of it show the fields so."""
    schema = codec(Letter).schema()

    assert schema is not None
    assert list(json.loads(schema)["properties"]) == ["to", "subject", "body"]
