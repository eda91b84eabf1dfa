"""What commands say."""

import pytest

from outlast.cli import terminal
from outlast.cli.secret import resolve
from outlast.cli.terminal import Stop, duration, progress, table


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0834, "83ms"), (1.23, "1.2s"), (59.9, "59.9s"), (125, "2m 05s"), (3_720, "1h 02m")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    """Two units at most."""
    assert duration(seconds) == text


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No flicker."""
    with progress("starting PostgreSQL"):
        pass

    assert capsys.readouterr().out == ""


def test_what_takes_long_says_so_and_how_long_it_took(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a pipe too."""
    monkeypatch.setattr(terminal, "PATIENCE", -1)

    with progress("starting PostgreSQL"):
        pass

    assert "starting PostgreSQL: done after 0.0 s" in capsys.readouterr().out


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    """And has no trailing blanks."""
    table(("ID", "STATUS"), [("run_1", "COMPLETED"), ("run_22", "QUEUED")])

    assert capsys.readouterr().out.splitlines() == [
        "ID      STATUS",
        "run_1   COMPLETED",
        "run_22  QUEUED",
    ]


def test_a_secret_can_stand_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a variable or a file."""
    file = tmp_path_factory.mktemp("secrets") / "url"
    file.write_text("postgresql://file\n")
    monkeypatch.setenv("SOME_URL", "postgresql://variable")

    assert resolve("env:SOME_URL", "--database-url") == "postgresql://variable"
    assert resolve(f"file:{file}", "--database-url") == "postgresql://file"
    assert resolve("postgresql://plain", "--database-url") == "postgresql://plain"


@pytest.mark.parametrize("text", ["env:NOT_SET_ANYWHERE", "file:/nowhere/at/all"])
def test_a_secret_that_is_not_there_is_named_with_its_option(text: str) -> None:
    """The value itself is never shown."""
    with pytest.raises(Stop, match="--database-url names"):
        resolve(text, "--database-url")
