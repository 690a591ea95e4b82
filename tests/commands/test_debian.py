# SPDX-License-Identifier: GPL-2.0-or-later
"""The fetched kernel and its initramfs: a real fetch, apt against repositories made here, and a boot in QEMU."""

import gzip
import hashlib
import http.server
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from armprobe.commands.debian import (
    PROMPT,
    READY,
    DebianError,
    KernelFiles,
    build_initramfs,
    cache_directory,
    fetch_kernel,
)

Tool = Callable[[str, str], str]


@pytest.fixture(scope="module")
def kernel(tool: Tool) -> KernelFiles:
    """What armprobe linux would boot, from the user's own cache, so that it is downloaded once."""
    tool("apt-get", "apt")
    try:
        return fetch_kernel()
    except DebianError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


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


class Repository:
    """A Debian repository on a loopback port, with apt told by APT_CONFIG (apt.conf(5)) that there is no other."""

    def __init__(self, folder: Path, dpkg_deb: str) -> None:
        self.folder = folder
        self.dpkg_deb = dpkg_deb
        self.requests: list[str] = []
        repository = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object) -> None:
                super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                repository.requests.append(self.path)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, name: str, version: str, depends: str = "", files: dict[str, bytes] | None = None) -> Path:
        """Put a package into the pool; `publish` makes it known."""
        tree = self.folder.parent / "trees" / f"{name}_{version}"
        control = f"Package: {name}\nVersion: {version}\nArchitecture: arm64\nMaintainer: nobody <nobody@example.org>\n"
        control += f"Depends: {depends}\n" if depends else ""
        for path, content in {"DEBIAN/control": (control + "Description: test\n").encode(), **(files or {})}.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
        package = self.folder / f"{name}_{version}_arm64.deb"
        build = [self.dpkg_deb, "--build", "--root-owner-group", str(tree), str(package)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        return package

    def publish(self) -> None:
        """Write the index of the packages in the pool (a flat repository: wiki.debian.org/DebianRepository/Format)."""
        index = ""
        for package in sorted(self.folder.glob("*.deb")):
            content = package.read_bytes()
            fields = subprocess.check_output([self.dpkg_deb, "--field", str(package)], text=True)
            index += fields + f"Filename: ./{package.name}\nSize: {len(content)}\n"
            index += f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n"
        (self.folder / "Packages").write_text(index)
        entry = f" {hashlib.sha256(index.encode()).hexdigest()} {len(index)} Packages\n"
        date = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime())
        (self.folder / "Release").write_text(f"Date: {date}\nArchitectures: arm64\nSHA256:\n{entry}")

    def add_kernel(self, release: str, version: str) -> None:
        """Put a kernel of the shape of Debian's, and the meta package that depends on it, into the repository."""
        image = f"linux-image-{release}-cloud-arm64"
        self.add(image, version, files={f"boot/vmlinuz-{release}-cloud-arm64": f"kernel {version}".encode()})
        self.add("linux-image-cloud-arm64", version, depends=f"{image} (= {version})")
        self.publish()

    @property
    def fetched(self) -> list[str]:
        return [path for path in self.requests if path.endswith(".deb")]


@pytest.fixture
def use_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """use_source(line): give apt this one line as its sources, and an empty cache; the file that configures apt."""

    def use(line: str) -> Path:
        (tmp_path / "sources.list").write_text(line + "\n")
        config = tmp_path / "apt.conf"
        settings = {"Dir::Etc::sourcelist": f"{tmp_path}/sources.list", "Dir::Etc::sourceparts": "-"}
        settings["Acquire::Retries"] = "0"  # each would wait longer
        config.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        monkeypatch.setenv("APT_CONFIG", str(config))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for variable in ("http_proxy", "HTTP_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        return config

    return use


@pytest.fixture
def repository(tmp_path: Path, tool: Tool, use_source: Callable[[str], Path]) -> Iterator[Repository]:
    """A repository that apt trusts, with Linux 6.1.0-1 and a BusyBox."""
    tool("apt-get", "apt")
    folder = tmp_path / "repository"
    folder.mkdir()
    made = Repository(folder, tool("dpkg-deb", "dpkg"))
    made.add("busybox-static", "1:1.35.0-4", files={"bin/busybox": b"shell"})
    made.add_kernel("6.1.0-1", "6.1.10-1")
    use_source(f"deb [trusted=yes] {made.address} ./")
    yield made
    made.server.shutdown()
    made.server.server_close()


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
    assert (files.vmlinuz.read_bytes(), files.busybox.read_bytes()) == (b"kernel 6.1.10-1", b"shell")
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
    assert new.vmlinuz.read_bytes() == b"kernel 6.1.12-1"
    assert old.vmlinuz.read_bytes() == b"kernel 6.1.10-1"


def test_several_at_once_fetch_once(repository: Repository) -> None:
    code = "from armprobe.commands.debian import fetch_kernel; print(fetch_kernel(lambda line: None).vmlinuz)"
    command = [sys.executable, "-c", code]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert printed == {str(fetch_kernel(pytest.fail).vmlinuz)}
    assert len(repository.fetched) == 2


def test_remains_of_a_killed_fetch_are_no_harm(repository: Repository) -> None:
    folder = cache_directory() / "debian"
    (folder / "partial" / "root").mkdir(parents=True)
    (folder / "partial" / "vmlinuz").write_bytes(b"half a ker")
    (folder / "current.new").symlink_to("nowhere")
    assert fetch_kernel(lambda line: None).vmlinuz.read_bytes() == b"kernel 6.1.10-1"


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
        monkeypatch.setattr("armprobe.commands.debian.apt._PATIENCE", 0.5)
        assert "apt-get got nothing" in refused()


def test_disk_without_room(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armprobe.commands.debian.fetch._ROOM", 1 << 60)
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


def cpio(tool: Tool, archive: bytes, *options: str) -> bytes:
    """What GNU cpio makes of `archive`."""
    command = [tool("cpio", "cpio"), "--extract", "--quiet", *options]
    return subprocess.run(command, input=gzip.decompress(archive), check=True, capture_output=True).stdout


def test_initramfs_as_cpio_reads_it(tool: Tool) -> None:
    archive = build_initramfs(
        b"\x7fELF" * 1001,
        {"/lib/modules/probe.ko": (0o640, b"module"), "./x": (0o4755, b"odd"), "bin/link": (0o120777, b"busybox")},
    )
    listing = cpio(tool, archive, "--list", "--verbose", "--numeric-uid-gid").decode().splitlines()
    rows = {fields[-1] if "->" not in fields else fields[-3]: fields for fields in map(str.split, listing)}
    assert {fields[2] + fields[3] for fields in rows.values()} == {"00"}
    assert {name: fields[0] for name, fields in rows.items()}.items() >= {
        "bin": "drwxr-xr-x",
        "bin/busybox": "-rwxr-xr-x",
        "bin/link": "lrwxrwxrwx",
        "dev/console": "crw-------",
        "init": "-rwxr-xr-x",
        "lib": "drwxr-xr-x",
        "lib/modules": "drwxr-xr-x",
        "lib/modules/probe.ko": "-rw-r-----",
        "proc": "drwxr-xr-x",
        "x": "-rwsr-xr-x",
    }.items()
    assert rows["dev/console"][4:6] == ["5,", "1"]
    assert rows["bin/link"][-1] == "busybox"
    order = list(rows)
    assert all(order.index(str(Path(name).parent)) < order.index(name) for name in order if "/" in name)
    assert cpio(tool, archive, "--to-stdout", "bin/busybox") == b"\x7fELF" * 1001
    assert cpio(tool, archive, "--to-stdout", "lib/modules/probe.ko") == b"module"
    assert cpio(tool, archive, "--to-stdout", "x") == b"odd"


def test_a_file_given_replaces_one_of_the_same_path(tool: Tool) -> None:
    archive = build_initramfs(b"shell", {"/init": (0o700, b"#!/bin/busybox true\n")})
    assert cpio(tool, archive, "--list").split().count(b"init") == 1
    assert cpio(tool, archive, "--to-stdout", "init") == b"#!/bin/busybox true\n"


def test_initramfs_is_the_same_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_initramfs(b"shell", {"a": (0o644, b"a")})
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert build_initramfs(b"shell", {"a": (0o644, b"a")}) == first
    assert first[4:8] == bytes(4)  # RFC 1952, section 2.3.1: the time, 0 when there is none


@pytest.mark.parametrize("path", ["", "/", "../etc/passwd", "lib/../../x"])
def test_path_outside_the_initramfs(path: str) -> None:
    with pytest.raises(ValueError, match="cannot be put into the initramfs"):
        build_initramfs(b"shell", {path: (0o644, b"")})


def boot(qemu: str, kernel: Path, initrd: Path, commands: list[str]) -> str:
    """The serial console of a boot in QEMU, one of `commands` typed at each prompt; ends when the machine is off."""
    machine = "-M virt,gic-version=2 -cpu cortex-a57 -m 256 -nic none -no-reboot"
    machine += " -display none -monitor none -serial stdio"
    options = ["-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyAMA0 nokaslr panic=-1"]
    command = [qemu, *machine.split(), *options]
    transcript, prompts, deadline = b"", 0, time.monotonic() + 60
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as machine_process:
        assert machine_process.stdin
        assert machine_process.stdout
        output = machine_process.stdout.fileno()
        try:
            while select.select([output], [], [], deadline - time.monotonic())[0] and (part := os.read(output, 65536)):
                transcript += part
                if transcript.count(PROMPT.encode()) > prompts < len(commands):
                    machine_process.stdin.write(commands[prompts].encode() + b"\n")
                    machine_process.stdin.flush()
                    prompts += 1
        finally:
            machine_process.kill()
    return transcript.decode(errors="replace").replace("\r\n", "\n")


def test_boot_to_a_shell(kernel: KernelFiles, tool: Tool, tmp_path: Path) -> None:
    qemu = tool("qemu-system-aarch64", "qemu-system-arm")
    initrd = tmp_path / "initrd.gz"
    files = {"opt/tool": (0o755, b"#!/bin/sh\necho given $((6 * 7))\n"), "opt/same": (0o120777, b"tool")}
    initrd.write_bytes(build_initramfs(kernel.busybox.read_bytes(), files))
    console = boot(
        qemu,
        kernel.vmlinuz,
        initrd,
        [
            "uname -nr; /opt/same; tty",
            "mount | cut -d' ' -f3,5; ls /sys/kernel/tracing/kprobe_events",
            "sleep 1; exit",
            "cd /proc; grep -c arch_timer interrupts; cd",
            "poweroff -f",
        ],
    )
    assert f"\n{READY}\n" in console
    assert f"\narmprobe {kernel.kernel_version}\ngiven 42\n/dev/ttyAMA0\n" in console
    for mounted in ("/proc proc", "/sys sysfs", "/dev devtmpfs", "/sys/kernel/tracing tracefs"):
        assert f"\n{mounted}\n" in console
    assert "\n/sys/kernel/tracing/kprobe_events\n" in console
    assert console.count("built-in shell") == 2  # a second one after exit
    assert "\n1\n" in console
    assert "reboot: Power down" in console
