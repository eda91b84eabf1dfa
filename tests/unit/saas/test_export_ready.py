from app.emails.export_ready import ExportReady


def test_the_mail_says_what_and_where() -> None:
    mail = ExportReady(name="Ada", organization="Acme", rows=50_000, url="http://localhost/x.csv")

    assert mail.subject == "Your invoice export is ready (50,000 rows)"
    assert "http://localhost/x.csv" in mail.as_text()
    assert 'href="http://localhost/x.csv"' in mail.as_html()


def test_what_users_wrote_cannot_become_markup() -> None:
    mail = ExportReady(name="<b>Ada</b>", organization='"A" & B $name', rows=1, url="http://x")

    assert "<b>Ada" not in mail.as_html()
    assert "&quot;A&quot; &amp; B $name" in mail.as_html()
    assert '"A" & B $name' in mail.as_text()
