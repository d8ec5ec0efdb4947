"""What holds for the source tree as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "twotower"
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [str(path.relative_to(SOURCE)) for path in FILES]

GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "misc", "base", "tools", "lib", "core"}
VAGUE_CLASS = re.compile(r"^\s*class \w*(Manager|Handler|Helper|Processor|Mixin)\b", re.MULTILINE)

# running bytes from a file, or text, as a program
UNSAFE = re.compile(
    r"\bpickle\b|\bdill\b|\bcloudpickle\b|\bmarshal\b|\bshelve\b|\bjoblib\b"
    r"|(?<!safetensors\.)\btorch\s*\.\s*(load|save|jit|package)\b|from torch import .*\b(load|save|jit|package)\b"
    r"|allow_pickle|(?<![\w.])(eval|exec|compile|__import__)\s*\(|\byaml\b"
)


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 20


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_one_idea(name: str) -> None:
    lines = (SOURCE / name).read_text().splitlines()
    assert len(lines) <= 400, f"{name} has {len(lines)} lines; 400 is the wall: split it by ideas"


@pytest.mark.parametrize("name", NAMES)
def test_names_say_what_is_inside(name: str) -> None:
    assert not GRAB_BAGS & set(Path(name).with_suffix("").parts), f"{name}: say what is inside"
    vague = VAGUE_CLASS.search((SOURCE / name).read_text())
    assert vague is None, f"{name}: {vague.group().strip() if vague else ''}: say what it does"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_is_read_can_run(name: str) -> None:
    found = UNSAFE.search((SOURCE / name).read_text())
    assert found is None, f"{name} holds {found.group() if found else ''!r}: data is read as data, never run"


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "torch.load(path)",
        "torch.save(state, path)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "exec (text)",
        "from torch import Tensor, save",
        "__import__(name)",
    ],
)
def test_the_search_for_unsafe_reading_finds_it(line: str) -> None:
    assert UNSAFE.search(line)


@pytest.mark.parametrize(
    "line", ["safetensors.torch.load(data)", "model.eval()", "re.compile(x)", "pl.Expr.load", "executor(", "retrieval("]
)
def test_the_search_for_unsafe_reading_lets_the_rest_be(line: str) -> None:
    assert not UNSAFE.search(line)


def test_every_package_is_on_a_floor() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = settings["contracts"]
    rooms = {room.strip(" ()") for floor in contract["layers"] for room in floor.split("|")}
    there = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
    assert there <= rooms, f"on no floor: {sorted(there - rooms)}; add them to the layers in pyproject.toml"
    assert contract["exhaustive"] is True


def test_every_room_says_what_it_is_and_what_it_offers() -> None:
    for path in SOURCE.glob("*/__init__.py"):
        text = path.read_text()
        assert text.startswith('"""'), f"{path.parent.name}: a docstring says what the room is"
        assert "__all__" in text, f"{path.parent.name}: __all__ says what it offers"


def test_the_help_of_the_command_does_not_wait_for_torch() -> None:
    program = (
        "import sys\n"
        "from twotower.cli import main\n"
        "sys.argv = ['twotower', '--help']\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        "heavy = sorted({'torch', 'polars', 'pandas', 'pyarrow', 'tokenizers'} & set(sys.modules))\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_the_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    constraints = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    optional = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *optional["dev"], *optional["pandas"]]:
        name, least = requirement.split(">=")
        had = constraints.get(name.lower())
        assert had is not None, f"{name} is required and not in constraints.txt"
        assert numbers(had) >= numbers(least), f"{name} {had} in constraints.txt is older than the {least} that is required"
    assert not [version for version in constraints.values() if "+" in version], "no builds for one kind of machine"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def test_every_target_of_make_is_in_its_help() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    documented = set(re.findall(r"^([a-z-]+):[^\n]*## ", text, re.MULTILINE))
    assert set(phony.split()) == documented
    assert {"install", "data", "lint", "test", "test-all", "demo", "bench", "accept", "clean", "help"} <= documented


def test_the_changelog_says_what_is_unreleased() -> None:
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()
