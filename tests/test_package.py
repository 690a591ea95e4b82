# SPDX-License-Identifier: GPL-2.0-or-later
"""The package `armprobe`: its names, and that the one installed is the one imported."""

import importlib.metadata
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import armprobe

ROOT = Path(__file__).parents[1]
ASK = "import armprobe; print(armprobe.__version__, armprobe.machine.load.__module__)"
ANSWER = f"{importlib.metadata.version('armprobe')} armprobe.machine"


def python(*words: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", armprobe.__all__)
def test_public_names(name: str) -> None:
    assert getattr(armprobe, name) is not None
    assert name in dir(armprobe)


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'armprobe' has no attribute 'lood'"):
        armprobe.lood  # noqa: B018


def test_import_alone_takes_no_room() -> None:
    code = "import sys, armprobe; print([name for name in sys.modules if name.startswith(('armprobe.', 'unicorn'))])"
    assert python("-c", code, folder=ROOT) == "[]"


def test_from_the_root_of_the_checkout() -> None:
    assert python("-c", ASK, folder=ROOT) == ANSWER
    assert python("-m", "armprobe", "--version", folder=ROOT) == f"armprobe {ANSWER.split()[0]}"


def test_a_folder_of_that_name_beside_a_script(tmp_path: Path) -> None:
    """A folder without __init__.py would come before another namespace package, but not before a real one."""
    (tmp_path / "armprobe").mkdir()
    (tmp_path / "script.py").write_text(ASK)
    assert python("script.py", folder=tmp_path) == ANSWER


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built with the build tools that are here."""
    folder = tmp_path_factory.mktemp("wheel")
    code = f"import setuptools.build_meta as b; print(b.build_wheel({str(folder)!r}))"
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "tests", "*.egg-info"))
    return folder / python("-c", code, folder=source).splitlines()[-1]


def test_wheel(wheel: Path, tmp_path: Path) -> None:
    """Unpacked alone, in front of what is installed, it runs the demo."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path)
        names = file.namelist()
    assert {"armprobe/py.typed", "armprobe/gdbinit", "armprobe/guests/demo/demo.elf"} <= set(names)
    assert any(name.endswith("share/man/man1/armprobe.1") for name in names)
    assert "armprobe/machine/native/libarmprobe.so" in names
    assert [name for name in names if name.endswith((".c", ".h")) and "/guests/" not in name] == []
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import armprobe, armprobe.clients.gdb_session as client
print(armprobe.__file__, client.GDBINIT.exists(), client.PROXY.exists())
with armprobe.Session("demo") as session:
    print(session.run("continue until=kfree"))
"""
    shown = python("-c", code, folder=tmp_path)
    assert shown.startswith(f"{tmp_path}/armprobe/__init__.py True True\n")
    assert "kfree" in shown
