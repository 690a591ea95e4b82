# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetching a kernel: a real one, and from repositories made here."""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from armprobe.guests.linux.debian import DebianError, KernelFiles, cache_directory, fetch_kernel
from armprobe.guests.linux.debian.apt import Apt
from tests.guests.repository import Repository, image
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

Tool = Callable[[str, str], str]


def test_fetched_kernel_is_an_arm64_image(kernel: KernelFiles) -> None:
    image = kernel.vmlinuz.read_bytes()
    assert image[0x38:0x3C] == b"ARMd"  # Linux Documentation/arm64/booting.rst, section 4
    assert f"Linux version {kernel.kernel_version} ".encode() in image
    assert kernel.package_version.encode() in image


def test_fetched_busybox_is_static(kernel: KernelFiles) -> None:
    with kernel.busybox.open("rb") as file:
        elf = ELFFile(file)
        assert elf.get_machine_arch() == "AArch64"
        assert not [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_INTERP"]


def test_cached_kernel_takes_neither_apt_nor_the_network(kernel: KernelFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert fetch_kernel(report=pytest.fail) == kernel


def refused(refresh: bool = False, suite: str = "") -> str:
    """The message of a fetch that has to fail: one sentence that says what to do instead."""
    with pytest.raises(DebianError) as caught:
        fetch_kernel(lambda line: None, refresh=refresh, suite=suite)
    message = str(caught.value)
    assert "\n" not in message
    assert "--kernel FILE --initrd FILE" in message
    return message


def test_fetch_and_cache(repository: Repository) -> None:
    lines: list[str] = []
    files = fetch_kernel(lines.append)
    assert (files.kernel_version, files.package_version) == ("6.1.0-1-cloud-arm64", "6.1.10-1")
    assert (files.vmlinuz.read_bytes(), files.busybox.read_bytes()) == (image("6.1.0-1-cloud-arm64"), b"shell")
    assert files.vmlinuz.is_relative_to(cache_directory())
    assert any("6.1.10-1" in line and "MB" in line for line in lines)
    assert len(repository.fetched) == 2

    repository.requests.clear()
    assert fetch_kernel(pytest.fail) == files
    assert repository.requests == []


def test_busybox_where_bin_is_a_link(repository: Repository) -> None:
    """Since Debian 13 packages hold usr/bin, not bin."""
    repository.add("busybox-static", "1:1.37.0-6", files={"usr/bin/busybox": b"newer shell"})
    repository.publish()
    assert fetch_kernel(lambda line: None).busybox.read_bytes() == b"newer shell"


def test_refresh_looks_for_a_newer_kernel(repository: Repository) -> None:
    old = fetch_kernel(lambda line: None)
    repository.requests.clear()
    assert fetch_kernel(lambda line: None, refresh=True) == old
    assert repository.requests
    assert repository.fetched == []

    repository.add_kernel("6.1.0-2", "6.1.12-1")
    assert fetch_kernel(lambda line: None) == old
    new = fetch_kernel(lambda line: None, refresh=True)
    assert new.kernel_version == "6.1.0-2-cloud-arm64"
    assert new.vmlinuz.read_bytes() == image("6.1.0-2-cloud-arm64")
    assert old.vmlinuz.read_bytes() == image("6.1.0-1-cloud-arm64")


def test_several_at_once_fetch_once(repository: Repository) -> None:
    code = "from armprobe.guests.linux.debian import fetch_kernel; print(fetch_kernel(lambda line: None).vmlinuz)"
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate(timeout=PATIENCE)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert printed == {str(fetch_kernel(pytest.fail).vmlinuz)}
    assert len(repository.fetched) == 2


def test_remains_of_a_killed_fetch_are_no_harm(repository: Repository) -> None:
    folder = cache_directory() / "debian"
    (folder / "partial" / "root").mkdir(parents=True)
    (folder / "partial" / "vmlinuz").write_bytes(b"half a ker")
    (folder / "current.new").symlink_to("nowhere")
    assert fetch_kernel(lambda line: None).vmlinuz.read_bytes() == image("6.1.0-1-cloud-arm64")


def test_a_file_lost_from_the_cache_is_fetched_again(repository: Repository) -> None:
    fetch_kernel(lambda line: None).busybox.unlink()
    assert fetch_kernel(lambda line: None).busybox.read_bytes() == b"shell"


def test_nothing_outside_the_cache_is_left_or_run(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    config = tmp_path / "apt.conf"
    hooks = [f"APT::Update::{name}" for name in ("Pre-Invoke", "Post-Invoke", "Post-Invoke-Success")]
    config.write_text(config.read_text() + "".join(f'{hook} {{ "touch {tmp_path}/hook"; }};\n' for hook in hooks))
    fetch_kernel(lambda line: None)
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "hook").exists()


def test_lists_are_read_once(repository: Repository, tmp_path: Path) -> None:
    """Also where the system's settings keep no index of them, as /etc/apt/apt.conf.d/docker-clean."""
    config = tmp_path / "apt.conf"
    config.write_text(config.read_text() + 'Dir::Cache::pkgcache "";\n')
    work = tmp_path / "work"
    apt = Apt(work)
    apt.update()
    index = work / "cache" / "pkgcache.bin"
    made = index.stat().st_mtime_ns
    assert apt.find("busybox-static")["Version"] == "1:1.35.0-4"
    assert index.stat().st_mtime_ns == made


def test_altered_package_is_refused(repository: Repository) -> None:
    package = next(repository.folder.glob("linux-image-6*.deb"))
    content = bytearray(package.read_bytes())
    content[-1] ^= 1
    package.write_bytes(content)
    assert "Hash Sum mismatch" in refused()
    with pytest.raises(DebianError):  # and nothing of it was kept
        fetch_kernel(lambda line: None)


@pytest.mark.parametrize("careless", ["false", "true"])
def test_unsigned_repository_is_refused(
    repository: Repository, use_source: Callable[[str], Path], careless: str
) -> None:
    config = use_source(f"deb {repository.address} ./")
    settings = f'Acquire::AllowInsecureRepositories "{careless}"; APT::Get::AllowUnauthenticated "{careless}";'
    config.write_text(config.read_text() + settings)
    assert "is not signed" in refused()
    assert repository.fetched == []


def test_repository_without_the_package(repository: Repository) -> None:
    for package in repository.folder.glob("linux-image-*"):
        package.unlink()
    repository.publish()
    assert "offer no linux-image-cloud-arm64 for arm64" in refused()


def test_package_without_a_kernel(repository: Repository) -> None:
    repository.add("linux-image-6.1.0-3-cloud-arm64", "6.1.13-1", files={"boot/config": b""})
    repository.add("linux-image-cloud-arm64", "6.1.13-1", depends="linux-image-6.1.0-3-cloud-arm64 (= 6.1.13-1)")
    repository.publish()
    assert "no vmlinuz" in refused()


def test_unknown_suite(repository: Repository, use_source: Callable[[str], Path]) -> None:
    use_source(f"deb [trusted=yes] {repository.address} nosuchsuite main")
    assert "nosuchsuite" in refused()


def test_another_suite_is_of_the_same_archive(use_source: Callable[[str], Path], tool: Tool) -> None:
    tool("apt-get", "apt")
    use_source("deb http://127.0.0.1:9/debian stable main")
    assert "127.0.0.1:9/debian/dists/bullseye" in refused(suite="bullseye")


def test_another_suite_takes_an_archive_of_debians(repository: Repository) -> None:
    assert "no archive of Debian's, where bullseye could be" in refused(suite="bullseye")
    assert repository.requests == []


def test_offline(use_source: Callable[[str], Path], tool: Tool) -> None:
    tool("apt-get", "apt")
    use_source("deb http://127.0.0.1:9/debian stable main")  # the discard port: nobody listens
    assert "127.0.0.1:9" in refused()


def test_mirror_that_does_not_answer(
    use_source: Callable[[str], Path], tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool("apt-get", "apt")
    with socket.create_server(("127.0.0.1", 0)) as server:
        use_source(f"deb http://127.0.0.1:{server.getsockname()[1]}/debian stable main")
        monkeypatch.setattr("armprobe.guests.linux.debian.apt._PATIENCE", 0.5)
        assert "apt-get got nothing" in refused()


def test_disk_without_room(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armprobe.guests.linux.debian.fetch._ROOM", 1 << 60)
    assert "MB free" in refused()
    assert repository.requests == []


def test_offline_refresh_keeps_what_is_there(repository: Repository, use_source: Callable[[str], Path]) -> None:
    files = fetch_kernel(lambda line: None)
    use_source("deb http://127.0.0.1:9/debian stable main")
    refused(refresh=True)
    assert fetch_kernel(pytest.fail) == files


@pytest.mark.parametrize("missing", ["apt-get", "dpkg-deb"])
def test_missing_program(
    repository: Repository, tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in {"apt-get", "apt-cache", "dpkg", "dpkg-deb"} - {missing}:
        (programs / name).symlink_to(tool(name, "apt"))
    monkeypatch.setenv("PATH", str(programs))
    assert f"{missing}, which this system does not have" in refused()


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "armprobe").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert f"{tmp_path}/armprobe" in refused()


def test_cache_directory_follows_the_xdg_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_directory() == Path("/nowhere/.cache/armprobe")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path("/nowhere/.cache/armprobe")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_directory() == Path("/elsewhere/armprobe")
