# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules of the source tree that no linter knows."""

import ast
import graphlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).parent.parent

ROOMS = ("machine", "kernel", "expressions", "probes", "traces", "stub", "session", "clients", "commands")
"""The rooms, from the lowest on: each may import itself and those before it."""

MAY_IMPORT = {room: set(ROOMS[: index + 1]) for index, room in enumerate(ROOMS)}
MAY_IMPORT["guests"] = {"machine", "guests"}
for _room in ("session", "clients", "commands"):
    MAY_IMPORT[_room].add("guests")
"""What a room may import: the dependencies run one way."""

LONGEST = 500
"""Lines a file may have, tables of data aside."""

# Folders of somebody's machine, and hosts that packages come from: the project works with whatever the user has set up.
FOREIGN = re.compile(
    r"(?<![\w.])/(?:work|root|home/\w+)/|(?:deb|security|snapshot|ftp)\.debian\.[a-z]|pypi\.[a-z]|pythonhosted|npmjs\."
)


def python_files(*folders: str) -> list[Path]:
    return sorted(file.relative_to(ROOT) for folder in folders for file in (ROOT / folder).rglob("*.py"))


def text_files() -> Iterator[tuple[Path, str]]:
    """Every file of the project that is text, and its text."""
    folders = [ROOT / name for name in (*MAY_IMPORT, "guests", "tests", "docs", ".ci")]
    for file in sorted([*ROOT.iterdir(), *(file for folder in folders for file in folder.rglob("*"))]):
        if file.is_file() and file.name != ".git" and b"\0" not in (content := file.read_bytes()):
            yield file.relative_to(ROOT), content.decode()


ROOM_FILES = python_files(*MAY_IMPORT)
ALL_PYTHON = [*ROOM_FILES, *python_files("guests", "tests"), Path("setup.py")]


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def imports(tree: ast.Module, package: str) -> frozenset[str]:
    """The full names of what `tree`, a module in `package`, imports at any depth; for `from a import b`, a.b."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            origin = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            prefix = ".".join(part for part in (origin, node.module) if part)
            names.update(f"{prefix}.{alias.name}" for alias in node.names)
    return frozenset(names)


@cache
def imports_of(file: Path) -> frozenset[str]:
    return imports(parsed(file), ".".join(("armprobe", *file.parent.parts)))


def rooms(names: frozenset[str]) -> set[str]:
    """The rooms among imported `names`; a whole import of armprobe counts as every room."""
    found: set[str] = set()
    for name in names:
        top, _, rest = name.partition(".")
        if top == "armprobe":
            found |= {rest.partition(".")[0]} if rest and not rest.startswith("*") else set(MAY_IMPORT)
    return found


def length(file: Path) -> int:
    """The lines of `file` without those of its tables: literals bound at the top level of the module."""
    lines = (ROOT / file).read_text().count("\n")
    for node in parsed(file).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
            node.value, ast.Dict | ast.List | ast.Tuple | ast.Set
        ):
            lines -= (node.end_lineno or node.lineno) - node.lineno
    return lines


@pytest.mark.parametrize(
    ("source", "package", "expected"),
    [
        ("import armprobe.stub.wire", "armprobe.machine", {"stub"}),
        ("from armprobe import machine, probes", "armprobe.machine", {"machine", "probes"}),
        ("from armprobe.commands import Session", "armprobe.machine", {"commands"}),
        ("from . import cpu", "armprobe.machine", {"machine"}),
        ("from .cpu import Cpu", "armprobe.machine.devices", {"machine"}),
        ("from .. import stub", "armprobe.machine", {"stub"}),
        ("from ..stub.wire import f", "armprobe.machine", {"stub"}),
        ("def f():\n    from ...probes import Kprobe", "armprobe.machine.devices", {"probes"}),
        ("import armprobe", "armprobe.machine", set(MAY_IMPORT)),
        ("import struct, unicorn.arm64_const", "armprobe.machine", set()),
    ],
)
def test_imports_are_recognized(source: str, package: str, expected: set[str]) -> None:
    assert rooms(imports(ast.parse(source), package)) == expected


def test_the_tests_that_take_longest_are_there() -> None:
    assert [name for name in conftest.LONGEST if not (ROOT / "tests" / name).is_file()] == []


def test_every_room_has_files() -> None:
    assert {file.parts[0] for file in ROOM_FILES} == set(MAY_IMPORT)


# Each rule is one test, which names all files that break it: thousands of tests take their time to report.


def test_every_folder_is_a_package() -> None:
    """Or setup.py would leave it out."""
    assert [file for file in ROOM_FILES if not (ROOT / file).with_name("__init__.py").is_file()] == []


def test_dependencies_run_one_way() -> None:
    others = {file: rooms(imports_of(file)) - {"wiring"} - MAY_IMPORT[file.parts[0]] for file in ROOM_FILES}
    assert {file: found for file, found in others.items() if found} == {}


def test_wiring_imports_rooms_when_it_is_called() -> None:
    """Each room may import face/wiring.py, so that may import none before, but for types."""
    body = parsed(Path("face/wiring.py")).body
    guarded = [node for node in body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    others = ast.Module([node for node in body if node not in (*guarded, *functions)], [])
    assert functions
    assert rooms(imports(others, "armprobe")) == set()


@pytest.mark.sample(of="tests")
def test_no_room_has_a_second_identity() -> None:
    """From the root `import machine` would work too, and make a second copy of every class."""
    tops = {file: {name.partition(".")[0] for name in imports_of(file)} for file in ALL_PYTHON}
    assert {file: found for file, names in tops.items() if (found := names & set(MAY_IMPORT))} == {}


def test_no_imports_run_in_a_circle() -> None:
    """Those at the top level of modules; under TYPE_CHECKING and in functions they may."""
    files = {".".join(("armprobe", *file.with_suffix("").parts)).removesuffix(".__init__"): file for file in ROOM_FILES}
    graph: dict[str, set[str]] = {}
    for module, file in files.items():
        top: list[ast.stmt] = [node for node in parsed(file).body if isinstance(node, ast.Import | ast.ImportFrom)]
        package = ".".join(("armprobe", *file.parent.parts))
        named = imports(ast.Module(top, []), package)
        graph[module] = {name if name in files else name.rpartition(".")[0] for name in named} & files.keys()
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def begins_well(file: Path) -> bool:
    """Whether the file has its license first, and a docstring."""
    lines = (ROOT / file).read_text().splitlines()
    first = next((line for line in lines if not line.startswith("#!")), "")
    return first == "# SPDX-License-Identifier: GPL-2.0-or-later" and bool(ast.get_docstring(parsed(file)))


def test_license_and_docstring_come_first() -> None:
    assert [file for file in ALL_PYTHON if not begins_well(file)] == []


def test_no_file_is_two_files() -> None:
    assert {file: lines for file in ALL_PYTHON if (lines := length(file)) > LONGEST} == {}


def test_code_inside_gdb_is_standard_library_only() -> None:
    """gdb embeds the system's Python, which sees no virtual environment."""
    inside = {file: names for file in ALL_PYTHON if "gdb" in (names := imports_of(file))}
    assert Path("commands/gdb_proxy.py") in inside
    tops = {file: {name.partition(".")[0] for name in names} for file, names in inside.items()}
    assert {file: found for file, names in tops.items() if (found := names - sys.stdlib_module_names - {"gdb"})} == {}


def test_nothing_of_one_machine_is_in_it() -> None:
    texts = {file: text for file, text in text_files() if file != Path(__file__).relative_to(ROOT)}
    assert Path("pyproject.toml") in texts
    lines = [(str(file), line) for file, text in texts.items() for line in text.splitlines()]
    assert [(file, line) for file, line in lines if FOREIGN.search(line)] == []


@pytest.mark.parametrize("line", ["see |root|x", "|work|x", "URI http:||deb!debian!org|debian", "a=|home|user|x"])
def test_what_belongs_to_one_machine_is_recognized(line: str) -> None:
    """They are written so that this file has none itself."""
    assert FOREIGN.search(line.replace("|", "/").replace("!", "."))
