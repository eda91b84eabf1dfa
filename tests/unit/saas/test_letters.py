from app.emails.export_ready import export_ready
from app.emails.letter import Letter


def test_the_mail_names_the_export() -> None:
    mail = export_ready(name="Ada", organization="Acme, Inc.", rows=50_000, url="http://app/x.csv")

    assert mail.subject == "Your invoice export is ready (50,000 rows)"
    assert "Hello Ada,\n\nyour export of Acme, Inc. is ready: 50,000 invoices." in mail.as_text()
    assert "Download the CSV:\nhttp://app/x.csv\n" in mail.as_text()
    assert 'href="http://app/x.csv"' in mail.as_html()


def test_what_users_wrote_is_escaped_in_html_only() -> None:
    mail = export_ready(name="<b>Bo</b>", organization='Globex "W" & Co', rows=1, url="http://a/?b")

    assert "<b>" not in mail.as_html()
    assert "Globex &#34;W&#34; &amp; Co" in mail.as_html()
    assert "Hello <b>Bo</b>," in mail.as_text()


def test_a_mail_without_a_link_has_no_button() -> None:
    mail = Letter(subject="Hi", greeting="Hello", paragraphs=("one", "two"), why="because")

    assert mail.as_text() == "Hello,\n\none\n\ntwo\n\nbecause"
    assert "<a " not in mail.as_html()
