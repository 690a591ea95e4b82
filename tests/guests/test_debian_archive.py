# SPDX-License-Identifier: GPL-2.0-or-later
"""An archive that is not what it was: another layout of packages, other versions, some of them gone or behind."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.guests.linux.debian import DebianError, cache_directory, fetch_kernel, fetch_packages
from tests.guests.repository import Repository, image
from tests.oracle import references, stock_modules  # tests have no import name to go by
from tests.oracle.live import build
from tests.oracle.live.build import Tool, unpacked_headers
from tests.oracle.references import Reference, fetch, fetch_with
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

V6_1 = Reference("6.1", "bookworm")
SKIPPED = pytest.skip.Exception


@pytest.fixture(autouse=True)
def nothing_fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (build, references, stock_modules):
        monkeypatch.setattr(module, "progress", lambda line: None)
    references.fetched.cache_clear()
    yield
    references.fetched.cache_clear()


def armprobe(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`armprobe linux`, which ends after one command."""
    command = [sys.executable, "-m", "armprobe", "linux", *arguments, "-c", "info"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize("split", [False, True])
def test_armprobe_linux_boots_a_kernel_of_either_layout(repository: Repository, split: bool) -> None:
    """Up to Debian 13 linux-image has the kernel and its modules; from 14 on it is empty, and depends on two others."""
    repository.add_kernel("6.1.0-9", "6.1.200-1", split=split)
    done = armprobe()
    assert done.returncode == 0, done.stderr
    assert "fetching linux-binary" in done.stderr if split else "fetching linux-image" in done.stderr
    assert "Linux 6.1.0-9-cloud-arm64 (Debian 6.1.200-1)" in done.stderr
    files = fetch_kernel(pytest.fail)
    assert (files.kernel_version, files.package_version) == ("6.1.0-9-cloud-arm64", "6.1.200-1")
    assert files.vmlinuz.read_bytes() == image("6.1.0-9-cloud-arm64")
    assert len(repository.fetched) == 2


@pytest.mark.parametrize("split", [False, True])
def test_modules_of_either_layout(repository: Repository, monkeypatch: pytest.MonkeyPatch, split: bool) -> None:
    repository.add_kernel("6.1.0-9", "6.1.200-1", split=split)
    monkeypatch.setattr(stock_modules, "NAMES", ("dummy",))
    assert stock_modules.stock_modules(fetch_kernel(lambda line: None)) == {"dummy": b"module"}


def test_split_package_without_the_part_that_has_the_kernel(repository: Repository) -> None:
    repository.add_kernel("6.1.0-9", "6.1.200-1", split=True)
    repository.remove("linux-binary-*")
    done = armprobe()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "armprobe: cannot fetch a Debian kernel: this system's apt sources offer no linux-binary-6.1.0-9-cloud-arm64 "
        "for arm64; instead, a kernel and an initramfs of your own can be given with --kernel FILE --initrd FILE"
    )


def test_the_newest_of_a_series(repository: Repository) -> None:
    """By its numbers: 6.1.0-9 is older than 6.1.0-10, and 6.12 is another series."""
    for release in ("6.1.0-9", "6.1.0-10", "6.12.5+deb13"):
        repository.add_kernel(release, "6.13-1")
    repository.add("linux-image-6.1.0-11-cloud-arm64-dbg", "1-1")
    repository.publish()
    assert fetch_kernel(lambda line: None).kernel_version == "6.12.5+deb13-cloud-arm64"
    files = fetch_kernel(lambda line: None, series="6.1")
    assert files.kernel_version == "6.1.0-10-cloud-arm64"
    repository.requests.clear()
    assert fetch_kernel(pytest.fail, series="6.1") == files
    assert fetch_kernel(pytest.fail, series="6.12") == fetch_kernel(pytest.fail)
    assert repository.requests == []


def test_flavours(repository: Repository) -> None:
    """The packages of the generic kernel have names that those of the others end with, too."""
    for flavour in ("", "cloud-", "rt-"):
        repository.add_kernel("6.1.0-9", "6.1.200-1", flavour=flavour)
    found = {flavour: fetch_kernel(lambda line: None, flavour=flavour) for flavour in ("generic", "cloud", "rt")}
    assert {flavour: files.kernel_version for flavour, files in found.items()} == {
        "generic": "6.1.0-9-arm64",
        "cloud": "6.1.0-9-cloud-arm64",
        "rt": "6.1.0-9-rt-arm64",
    }
    for flavour, files in found.items():
        assert fetch_kernel(pytest.fail, flavour=flavour) == files
        assert fetch_kernel(lambda line: None, flavour=flavour, series="6.1", refresh=True) == files
    done = armprobe("--flavour", "rt")
    assert done.returncode == 0, done.stderr
    assert "booting vmlinuz" in done.stderr
    done = armprobe("--flavour", "rt", "--kernel", str(found["cloud"].vmlinuz))
    assert "--flavour chooses one of Debian's kernels, and --kernel FILE names another" in done.stderr


def test_the_kernel_in_the_cache_has_left_the_archive(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs more packages of it takes the newest instead; `armprobe linux` stays with what it has."""
    monkeypatch.setattr(stock_modules, "NAMES", ("dummy",))
    old = fetch_kernel(lambda line: None)
    repository.remove("linux-image-6.1.0-1-*")
    repository.add_kernel("6.1.0-2", "6.1.12-1")
    made = fetch_with(V6_1, lambda files: (files.kernel_version, stock_modules.stock_modules(files)))
    assert made == ("6.1.0-2-cloud-arm64", {"dummy": b"module"})
    assert fetch_kernel(pytest.fail) == old
    assert armprobe().returncode == 0


@pytest.mark.parametrize("everything", [False, True])
def test_a_series_that_has_left_the_archive(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    """One sentence: a skip in `make test`, a failure in `make oracle`."""
    monkeypatch.setattr(references, "EVERYTHING", everything)
    repository.remove("linux-image-*")
    repository.add_kernel("6.12.5+deb13", "6.12.5-1")
    with pytest.raises(pytest.fail.Exception if everything else SKIPPED) as skipped:
        fetch(V6_1)
    assert str(skipped.value) == (
        "Linux 6.1 is not asked: the apt sources of this system name no archive of Debian's, where bookworm could be"
    )


ASKED = ("decode", "exclusives", "simulate", "tables", "blacklist")


def test_its_functions_answers_are_on_record(repository: Repository) -> None:
    """The tests that call functions of that kernel's pass, none is skipped, and one line says what they took."""
    repository.remove("linux-image-*")
    repository.add_kernel("6.12.5+deb13", "6.12.5-1")
    options = ["-q", "-p", "no:cacheprovider", "-k", "v5.10", *(f"tests/oracle/test_{name}.py" for name in ASKED)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout
    said = re.findall(r"= Linux (5\.10\.\d+) cannot be had: (\d+) tests took what is on record of it =", done.stdout)
    assert len(said) == 1, done.stdout
    assert f"\n{said[0][1]} passed, " in done.stdout, "all that ran took it, and none was skipped"
    assert int(said[0][1]) > 20


def add_headers(repository: Repository, kbuild: str, architecture: str) -> None:
    """What a module is built with for Linux 6.1.0-1, and kbuild's programs as package `kbuild`."""
    name, common = "linux-headers-6.1.0-1-cloud-arm64", "linux-headers-6.1.0-1-common"
    repository.add(name, "6.1.10-1", files={f"usr/src/{name}/Makefile": b""})
    repository.add(common, "6.1.10-1", files={f"usr/src/{common}/Makefile": b""})
    repository.add(kbuild, "6.1.11-3", files={f"usr/lib/{kbuild}/scripts/basic/fixdep": b""}, architecture=architecture)
    repository.publish()


@pytest.fixture
def here(tool: Tool) -> str:
    """This computer's architecture."""
    return subprocess.check_output([tool("dpkg", "dpkg"), "--print-architecture"], text=True).strip()


@pytest.mark.parametrize("kbuild", ["linux-kbuild-6.1", "linux-kbuild-6.1.0-1", "linux-kbuild-6.1.0-3"])
def test_one_architecture_is_behind(repository: Repository, tool: Tool, tmp_path: Path, here: str, kbuild: str) -> None:
    """Any kbuild of the series serves, where the headers' links lead to."""
    add_headers(repository, kbuild, here)
    headers = unpacked_headers(fetch_kernel(lambda line: None), tmp_path, tool)
    assert (headers / "Makefile").is_file()
    programs = headers.parent.parent / "lib"
    leads = "linux-kbuild-6.1" if kbuild == "linux-kbuild-6.1" else "linux-kbuild-6.1.0-1"
    assert (programs / leads / "scripts/basic/fixdep").is_file()


@pytest.mark.parametrize("gone", ["linux-headers-6.1.0-1-common", "linux-kbuild-6.1"])
def test_one_package_is_missing(repository: Repository, tool: Tool, tmp_path: Path, here: str, gone: str) -> None:
    add_headers(repository, "linux-kbuild-6.1", here)
    repository.remove(gone)
    with pytest.raises(SKIPPED) as skipped:
        fetch_with(V6_1, lambda files: unpacked_headers(files, tmp_path, tool))
    sentence = str(skipped.value)
    assert sentence.startswith("Linux 6.1 is not asked: this system's apt sources offer no ")
    assert gone in sentence
    assert "\n" not in sentence


def test_any_of_several_names(repository: Repository, tmp_path: Path) -> None:
    """The first there is; a name is not taken for the beginning of another, or for a pattern."""
    repository.add("probe-kit-1.9", "1", files={"found": b"1.9"})
    repository.add("probe-kit-1.10", "1", files={"found": b"1.10"})
    repository.publish()
    fetch_packages(["probe-kit | probe.kit-1.9 | probe-kit-1.*"], tmp_path / "root", lambda line: None)
    assert (tmp_path / "root/found").read_bytes() == b"1.10"
    with pytest.raises(DebianError, match=r"offer no probe-kit or probe-kit-2\.\* for arm64"):
        fetch_packages(["probe-kit | probe-kit-2.*"], tmp_path / "root", lambda line: None)


def test_nothing_is_kept_of_a_fetch_that_fails(repository: Repository) -> None:
    repository.add_kernel("6.1.0-9", "6.1.200-1", split=True)
    repository.remove("busybox-static")
    with pytest.raises(DebianError, match="offer no busybox-static for arm64"):
        fetch_kernel(lambda line: None)
    assert {path.name for path in (cache_directory() / "debian").iterdir()} == {"lock"}
