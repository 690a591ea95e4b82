# SPDX-License-Identifier: GPL-2.0-or-later
"""The package `armprobe`: its names, and that the one installed is the one imported."""

import importlib.metadata
import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

import armprobe
from tests.test_layout import ROOM_FILES, imports_of

pytestmark = pytest.mark.sample(of="files")

ROOT = Path(__file__).parents[1]
FOREIGN = {"gdb", "lldb"}  # modules that are there in these programs
MODULES = [
    ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    for file in ROOM_FILES
    if file.parts[0] != "face" and not FOREIGN & {name.partition(".")[0] for name in imports_of(file)}
]
"""The modules of the rooms, without `armprobe.`."""
ASK = "import armprobe; print(armprobe.__version__, armprobe.machine.load.__module__)"
ANSWER = f"{importlib.metadata.version('armprobe')} armprobe.machine.loading"


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


PACKAGES = [module for module in MODULES if (ROOT / module.replace(".", "/") / "__init__.py").is_file()]


def test_names_imported_on_first_use() -> None:
    """Each package has what its __all__ lists. None of these that it imports later is the name of a file in it: once
    the file is imported, the package's attribute is the module."""
    for name in PACKAGES:
        package = importlib.import_module(f"armprobe.{name}")
        for each in getattr(package, "__all__", ()):
            assert hasattr(package, each), (name, each)
        if hasattr(package, "__getattr__"):
            files = {module.rpartition(".")[2] for module in MODULES if module.rpartition(".")[0] == name}
            assert files.isdisjoint(package.__all__), name
            with pytest.raises(AttributeError, match=f"module 'armprobe.{name}' has no attribute 'lood'"):
                package.lood  # noqa: B018


IMPORT_EACH = """
import dataclasses, importlib, inspect, os, subprocess, sys, unicorn
for name in sys.argv[1:]:
    if not os.fork():
        importlib.import_module(f"armprobe.{name}")
        os._exit(0)
    if os.wait()[1]:
        sys.exit(f"{name} cannot be imported first")
"""


@pytest.mark.sample(of="tests")
@pytest.mark.parametrize("folder", sorted({module.partition(".")[0] for module in MODULES}))
def test_each_module_can_be_imported_first(folder: str) -> None:
    """Or it would depend on what others have imported before."""
    python("-c", IMPORT_EACH, *(module for module in MODULES if module.partition(".")[0] == folder), folder=ROOT)


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
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's sdist, unpacked, built with the build tools that are here."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "tests", "*.egg-info"))
    code = f"import setuptools.build_meta as b; print(b.build_sdist({str(folder)!r}))"
    archive = python("-c", code, folder=source).splitlines()[-1]
    with tarfile.open(folder / archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.removesuffix(".tar.gz")


def build_wheel(sdist: Path, folder: Path, **sources: str) -> Path:
    """A wheel made from the sdist, as `python -m build` makes it, with more C `sources` in its library."""
    source = folder / "source"
    shutil.copytree(sdist, source)
    for name, text in sources.items():
        (source / f"machine/native/{name}.c").write_text(text)
    code = f"import setuptools.build_meta as b; print(b.build_wheel({str(folder)!r}))"
    return folder / python("-c", code, folder=source).splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory, tool: Callable[[str, str], str]) -> Path:
    tool("cc", "gcc")
    return build_wheel(sdist, tmp_path_factory.mktemp("wheel"))


def library_of(wheel: Path) -> ELFFile:
    with zipfile.ZipFile(wheel) as file:
        return ELFFile(io.BytesIO(file.read("armprobe/machine/native/libarmprobe.so")))


def is_manylinux(wheel: Path, machine: str) -> bool:
    """Its tags are those of a wheel for every Python 3, and name a glibc that has every symbol of its library.

    PEP 600: manylinux_2_Y is for glibc 2.Y and newer.
    """
    tags = re.fullmatch(rf"py3-none-manylinux_2_(\d+)_{machine}", "-".join(wheel.stem.split("-")[2:]))
    needs = library_of(wheel).get_section_by_name(".gnu.version_r")
    versions = [aux.name for _, auxes in needs.iter_versions() for aux in auxes] if needs else []  # type: ignore[attr-defined]
    newest = max([int(name.split(".")[1]) for name in versions if name.startswith("GLIBC_2.")], default=0)
    return tags is not None and int(tags[1]) >= newest


def test_wheel_is_for_any_python_on_this_architecture(wheel: Path) -> None:
    assert is_manylinux(wheel, platform.machine())
    assert library_of(wheel).get_machine_arch() == {"x86_64": "x64", "aarch64": "AArch64"}[platform.machine()]


def test_wheel_names_the_glibc_it_needs(sdist: Path, tmp_path: Path, tool: Callable[[str, str], str]) -> None:
    """getrandom came with glibc 2.25 (its NEWS)."""
    tool("cc", "gcc")
    code = (
        '#include "native.h"\n#include <sys/random.h>\nARMPROBE_EXPORT long f(char *p) { return getrandom(p, 1, 0); }\n'
    )
    wheel = build_wheel(sdist, tmp_path, random=code)
    assert wheel.name.endswith(f"-py3-none-manylinux_2_25_{platform.machine()}.whl")
    assert is_manylinux(wheel, platform.machine())


def test_wheel_by_a_cross_compiler(
    sdist: Path, tmp_path: Path, tool: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command of docs/native.md."""
    compiler = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    if not Path("/usr/aarch64-linux-gnu/include/stdlib.h").exists():
        pytest.skip("there are no headers for the cross compiler (Debian: apt-get install libc6-dev-arm64-cross)")
    monkeypatch.setenv("CC", compiler)
    wheel = build_wheel(sdist, tmp_path)
    assert is_manylinux(wheel, "aarch64")
    assert library_of(wheel).get_machine_arch() == "AArch64"


def test_no_c_compiler(sdist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thing said is what to do."""
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        build_wheel(sdist, tmp_path)
    assert refusal.value.stderr.splitlines()[-1] == (
        "armprobe's core is in C, and there is no C compiler 'no-such-compiler' (No such file or directory): "
        "install one (Debian: apt-get install gcc libc6-dev), or name yours in the environment variable CC"
    )


def test_wheel(wheel: Path, tmp_path: Path) -> None:
    """Unpacked alone, in front of what is installed, it runs the demo."""
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path)
        names = file.namelist()
    assert {"armprobe/py.typed", "armprobe/gdbinit", "armprobe/lldbinit", "armprobe/guests/demo/demo.elf"} <= set(names)
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
