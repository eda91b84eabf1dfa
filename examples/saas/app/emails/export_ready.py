"""The mail that tells a user that their export is ready."""

from app.emails.letter import Letter


def export_ready(*, name: str, organization: str, rows: int, url: str) -> Letter:
    """Return the mail with the link to the file."""
    return Letter(
        subject=f"Your invoice export is ready ({rows:,} rows)",
        greeting=f"Hello {name}",
        paragraphs=(f"your export of {organization} is ready: {rows:,} invoices.",),
        button="Download the CSV",
        url=url,
        why="You get this mail because you asked for the export.",
    )
