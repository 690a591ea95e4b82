# SPDX-License-Identifier: GPL-2.0-or-later
"""`armprobe bundle`: what it writes, and that a user without a network gets a working installation from it.

A stand-in for pip makes the wheel. `make wheel` does it with the real one.
"""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from armprobe.commands import CommandError
from armprobe.commands.bundle import FOLDER, write_bundle
from armprobe.guests.linux.debian import cached_kernel
from armprobe.machine import MachineError

KERNEL = "6.1.0-99-cloud-arm64_6.1.999-1"
PIP = """
import json, pathlib, shutil, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--wheel-dir") + 1])
here = pathlib.Path(__file__).parent.parent
(here / "asked").write_text(sys.argv[-1])
refusal = here / "refusal"
if refusal.exists():
    sys.exit(refusal.read_text())
folder.mkdir()
for wheel in here.glob("*.whl"):
    shutil.copy(wheel, folder)
"""


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stand-in for pip, whose wheel prints its version. It writes down what it was asked for."""
    folder = tmp_path / "stand-in"
    (folder / "pip").mkdir(parents=True)
    (folder / "pip/__init__.py").touch()
    (folder / "pip/__main__.py").write_text(PIP)
    with zipfile.ZipFile(folder / "armprobe-9.9-py3-none-any.whl", "w") as wheel:
        info = "armprobe-9.9.dist-info"
        wheel.writestr("armprobe.py", "def main(): print('armprobe 9.9')\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: armprobe\nVersion: 9.9\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\narmprobe = armprobe:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def add_pip(folder: Path) -> None:
    """Add a wheel of the pip that is installed here."""
    pip = distribution("pip")
    with zipfile.ZipFile(folder / f"pip-{pip.version}-py3-none-any.whl", "w") as wheel:
        for file in pip.files or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                wheel.write(file.locate(), str(file))


@pytest.fixture(autouse=True)
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache has a kernel, so none is fetched."""
    cache = tmp_path / "cache"
    folder = cache / "armprobe/debian" / KERNEL
    folder.mkdir(parents=True)
    (folder / "vmlinuz").write_bytes(b"a kernel")
    (folder / "busybox").write_bytes(b"a shell")
    (folder.parent / "current").symlink_to(KERNEL)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.mark.sample(of="tests")
def test_a_user_without_a_network(pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bundle's script makes an environment and fills the cache, where armprobe finds its kernel."""
    add_pip(pip)
    write_bundle(tmp_path / "bundle.tar", report=lambda _: None)
    student = tmp_path / "student"
    student.mkdir()
    with tarfile.open(tmp_path / "bundle.tar") as tar:
        tar.extractall(student, filter="tar")
    alone = {"PATH": os.environ["PATH"], "HOME": str(student), "PYTHON": sys.executable}
    for _ in range(2):  # also where it is installed already
        done = subprocess.run(
            [f"{FOLDER}/install"], cwd=student, env=alone, capture_output=True, text=True, timeout=600, check=True
        )
    assert done.stdout == "installed: armprobe/bin/armprobe\n"
    shown = subprocess.run([student / "armprobe/bin/armprobe"], env=alone, capture_output=True, timeout=60, check=True)
    assert shown.stdout == b"armprobe 9.9\n"
    monkeypatch.setenv("XDG_CACHE_HOME", str(student / ".cache"))
    found = cached_kernel()
    assert found is not None
    assert (found.kernel_version, found.package_version) == ("6.1.0-99-cloud-arm64", "6.1.999-1")
    assert (found.vmlinuz.read_bytes(), found.busybox.read_bytes()) == (b"a kernel", b"a shell")


# What pip records of where a package comes from, by PEP 610, and what it installs the same from.
@pytest.mark.parametrize(
    ("origin", "asked"),
    [
        (None, "armprobe==9.9"),
        ({"url": "file:///src/armprobe", "dir_info": {"editable": True}}, "armprobe @ file:///src/armprobe"),
        ({"url": "file:///src/armprobe-9.9.whl", "archive_info": {}}, "armprobe @ file:///src/armprobe-9.9.whl"),
        (
            {"url": "https://example.org/armprobe", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}},
            "armprobe @ git+https://example.org/armprobe@c0ffee",
        ),
    ],
)
def test_the_wheel_is_made_of_what_is_installed(
    origin: object, asked: str, pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "armprobe-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: armprobe\nVersion: 9.9\n")
    if origin:
        (info / "direct_url.json").write_text(json.dumps(origin))
    egg = tmp_path / "armprobe.egg-info"  # which a build leaves in a checkout
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Name: armprobe\nVersion: 9.9\n")
    monkeypatch.setattr("importlib.metadata.distributions", lambda name: map(Distribution.at, (egg, info)))
    write_bundle(tmp_path / "bundle.tar", report=lambda _: None)
    assert (pip / "asked").read_text() == asked


def test_what_pip_says_is_the_reason(pip: Path, tmp_path: Path) -> None:
    (pip / "refusal").write_text("ERROR: No matching distribution found for unicorn\nhint: none\n")
    with pytest.raises(CommandError, match=r"^pip cannot make the wheels: No matching distribution found for unicorn$"):
        write_bundle(tmp_path / "bundle.tar", report=lambda _: None)
    assert not (tmp_path / "bundle.tar").exists()


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.distributions", lambda name: iter(()))
    with pytest.raises(CommandError, match=r"^armprobe is not installed here, so pip cannot make a wheel of it: "):
        write_bundle(tmp_path / "bundle.tar", report=lambda _: None)


def test_no_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CommandError, match=r"pip makes the wheels, and .* has none: python -m ensurepip installs it"):
        write_bundle(tmp_path / "bundle.tar", report=lambda _: None)


def test_another_file_stays(pip: Path, tmp_path: Path) -> None:
    file = tmp_path / "thesis.tar"
    with tarfile.open(file, "w") as tar:
        tar.add(pip / "pip", "thesis")
    before = file.read_bytes()
    with pytest.raises(MachineError, match="which armprobe has not made"):
        write_bundle(file, report=lambda _: None)
    assert file.read_bytes() == before
    write_bundle(file, force=True, report=lambda _: None)
    write_bundle(file, report=lambda _: None)  # it is a bundle now
