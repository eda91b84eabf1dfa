"""A `.env` file is read as people write it, and no error repeats what stands in it."""

import pytest

from outlast.protocol.dotenv import DotenvError, parse


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("export A=1", {"A": "1"}),
        ("# a comment\n\n  A = 1  # why\n", {"A": "1"}),
        ("A=#nothing", {"A": ""}),
        ("A=b#c", {"A": "b#c"}),
        ("A=", {"A": ""}),
        ("A=\nB=2", {"A": "", "B": "2"}),
        ("A=x=y z", {"A": "x=y z"}),
        ("A='x # \\n y'", {"A": "x # \\n y"}),
        ('A="x # \\n y" # why', {"A": "x # \n y"}),
        ('A="say \\"hi\\" \\\\ \\d"', {"A": 'say "hi" \\ \\d'}),
        ('A="one\ntwo"\nB=2', {"A": "one\ntwo", "B": "2"}),
        ("A='one\ntwo'", {"A": "one\ntwo"}),
        ("A=$HOME", {"A": "$HOME"}),
        ("A=1\nA=2", {"A": "2"}),
    ],
)
def test_a_text_is_read(text: str, found: dict[str, str]) -> None:
    assert parse(text) == found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A=1\nhunter2", 2),
        ("1A=hunter2", 1),
        ('A="hunter2', 1),
        ("\n\nA='hunter2", 3),
        ("A='1'hunter2", 1),
        ('A="1\n2"\nhunter2 = ', 3),
    ],
)
def test_a_line_that_is_no_variable_is_named_without_its_text(text: str, line: int) -> None:
    if text.endswith("= "):
        text = text.replace("hunter2", "hunter 2")
    with pytest.raises(DotenvError) as caught:
        parse(text)

    assert caught.value.line == line
    assert "hunter" not in str(caught.value)
