"""mypy and pyright agree with each other, and with us, on what user code may say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

CHECKERS = {
    "mypy": (
        [
            *(sys.executable, "-m", "mypy", "--strict"),
            *("--cache-dir", str(ROOT / ".mypy_cache" / "typing")),
            *("accepted.py", "refused.py"),
        ],
        re.compile(r"(?P<file>\w+\.py):(?P<line>\d+): error"),
    ),
    "basedpyright": (
        [str(Path(sys.executable).with_name("basedpyright")), "-p", str(HERE)],
        re.compile(r"(?P<file>\w+\.py):(?P<line>\d+):\d+ - error"),
    ),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", CHECKERS)
def test_exactly_the_marked_lines_are_refused(checker: str) -> None:
    command, pattern = CHECKERS[checker]
    checked = subprocess.run(
        [*command, *(["--pythonpath", sys.executable] if checker == "basedpyright" else [])],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
        env={"MYPYPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )
    found = {(hit["file"], int(hit["line"])) for hit in pattern.finditer(checked.stdout)}

    assert found == _marked(), checked.stdout + checked.stderr


def _marked() -> set[tuple[str, int]]:
    lines = (HERE / "refused.py").read_text().splitlines()
    return {
        ("refused.py", number) for number, line in enumerate(lines, 1) if line.endswith("# refused")
    }
