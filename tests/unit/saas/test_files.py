import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from app.exports.csv_text import rows_to_csv
from app.exports.files import write_atomically


def test_a_file_is_written_byte_by_byte_as_given(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "run_1.csv"

    size = write_atomically(path, ["a,b\r\n", rows_to_csv([["é", "x\ny"]])])

    assert path.read_bytes() == 'a,b\r\né,"x\ny"\r\n'.encode()
    assert size == path.stat().st_size
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["é", "x\ny"]]


def test_writing_again_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run_1.csv"
    write_atomically(path, ["old and longer"])

    write_atomically(path, ["new"])

    assert path.read_text(encoding="utf-8") == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["run_1.csv"]


def test_a_file_that_breaks_off_leaves_the_finished_one(tmp_path: Path) -> None:
    def parts() -> Iterator[str]:
        yield "half"
        raise RuntimeError("gone")

    path = tmp_path / "run_1.csv"
    write_atomically(path, ["whole"])

    with pytest.raises(RuntimeError, match="gone"):
        write_atomically(path, parts())

    assert path.read_text(encoding="utf-8") == "whole"
