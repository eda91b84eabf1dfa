"""The mail that tells a user that their export is ready."""

from dataclasses import dataclass
from html import escape
from string import Template

_TEXT = Template("""\
Hello $name,

your export of $organization is ready: $rows invoices.

Download it here:
$url

You get this mail because you asked for the export.
""")

_HTML = Template("""\
<!doctype html>
<html lang="en">
<body style="margin:0;background:#f4f4f1;font:16px/1.5 system-ui,sans-serif;color:#1d1d1b">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center">
<table role="presentation" width="520" cellpadding="32" style="background:#fff;margin:32px 16px">
<tr><td>
<h1 style="font-size:20px;margin:0 0 16px">Your export is ready</h1>
<p>Hello $name,</p>
<p>your export of <strong>$organization</strong> is ready: $rows invoices.</p>
<p><a href="$url" style="display:inline-block;padding:10px 18px;background:#1d1d1b;color:#fff;\
text-decoration:none;border-radius:6px">Download the CSV</a></p>
<p style="font-size:13px;color:#6b6b66">You get this mail because you asked for the export.</p>
</td></tr></table>
</td></tr></table>
</body>
</html>
""")


@dataclass(frozen=True, slots=True)
class ExportReady:
    """What the mail says."""

    name: str
    organization: str
    rows: int
    url: str

    @property
    def subject(self) -> str:
        """The subject line."""
        return f"Your invoice export is ready ({self.rows:,} rows)"

    def as_text(self) -> str:
        """Return the plain part."""
        return _TEXT.substitute(self._words())

    def as_html(self) -> str:
        """Return the HTML part; everything that a user wrote is escaped."""
        return _HTML.substitute({key: escape(word) for key, word in self._words().items()})

    def _words(self) -> dict[str, str]:
        return {
            "name": self.name,
            "organization": self.organization,
            "rows": f"{self.rows:,}",
            "url": self.url,
        }
