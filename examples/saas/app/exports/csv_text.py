"""Invoices as CSV after RFC 4180: CRLF ends a record, quotes are doubled, UTF-8."""

import csv
import io
from collections.abc import Iterable, Sequence

from app.schema import Invoice

HEADER = (
    "number",
    "issued_on",
    "due_on",
    "customer",
    "description",
    "amount",
    "currency",
    "status",
)


def rows_to_csv(rows: Iterable[Sequence[str]]) -> str:
    """Return the records as text. A page of an export is such a text without the header."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def header_line() -> str:
    """Return the first record of every export."""
    return rows_to_csv([HEADER])


def invoice_row(invoice: Invoice) -> tuple[str, ...]:
    """Return one invoice in the order of `HEADER`. Amounts are decimal text, never a float."""
    return (
        f"INV-{invoice.number:06d}",
        invoice.issued_on.isoformat(),
        invoice.due_on.isoformat(),
        invoice.customer,
        invoice.description,
        f"{invoice.amount_cents // 100}.{invoice.amount_cents % 100:02d}",
        invoice.currency,
        invoice.status,
    )
