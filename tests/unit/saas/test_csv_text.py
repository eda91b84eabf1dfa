import csv
import io
from datetime import date
from uuid import UUID

from app.exports.csv_text import HEADER, header_line, invoice_row, rows_to_csv
from app.schema import Invoice
from hypothesis import given
from hypothesis import strategies as st

# RFC 4180 knows no NUL, and a lone surrogate has no UTF-8.
FIELDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
RECORDS = st.lists(st.lists(FIELDS, min_size=1, max_size=5))


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@given(RECORDS)
def test_what_is_written_is_read_back(records: list[list[str]]) -> None:
    assert read(rows_to_csv(records)) == records


def test_quotes_commas_and_line_breaks_are_quoted_and_records_end_with_crlf() -> None:
    text = rows_to_csv([('say "hi"', "a,b", "two\nlines", "plain")])

    assert text == '"say ""hi""","a,b","two\nlines",plain\r\n'


def test_pages_after_a_header_make_one_file() -> None:
    page = rows_to_csv([["x"] * len(HEADER)])

    assert read(header_line() + page + page) == [list(HEADER), ["x"] * 8, ["x"] * 8]


def test_an_amount_keeps_its_cents() -> None:
    invoice = Invoice(
        id=UUID(int=1),
        organization_id=UUID(int=2),
        number=7,
        customer="Müller, Schmidt & Partner",
        description='License "Pro"',
        amount_cents=100_005,
        currency="EUR",
        status="open",
        issued_on=date(2025, 3, 1),
        due_on=date(2025, 3, 31),
    )

    assert invoice_row(invoice) == (
        "INV-000007",
        "2025-03-01",
        "2025-03-31",
        "Müller, Schmidt & Partner",
        'License "Pro"',
        "1000.05",
        "EUR",
        "open",
    )
