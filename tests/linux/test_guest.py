# SPDX-License-Identifier: GPL-2.0-or-later
"""Files pushed into and pulled from stock kernels, and commands executed there. Expected values are the guest's own."""

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session, cli
from armprobe.commands.values import Completed
from armprobe.guests import linux
from armprobe.machine import Machine, MachineError, StopReason
from armprobe.session.guest import HOME
from tests.linux.shell import Shell
from tests.linux.test_kaslr import SEED
from tests.oracle.guests import at_shell
from tests.oracle.references import ASKED, AT_LENGTH, REFERENCES, fetch
from tests.progress import progress
from tests.stock import stock_kernel

pytestmark = pytest.mark.sample(of="files")

NAMES = ("plain", "with blank", 'quote\'s "two"', "-n", "\u00fcber", os.fsdecode(b"\xff\xfe"), "new\nline", "\x1b[31m")


@pytest.fixture(scope="module", params=[*ASKED, "kaslr"])
def kernel(request: pytest.FixtureRequest) -> Path:
    """The snapshot of a stock kernel at its shell. It stops the guest in an interrupt's handler, not while it idles."""
    if request.param == "kaslr":
        stock_kernel()
        return linux.prepare(report=progress, kaslr=SEED)
    return at_shell(fetch(REFERENCES[request.param]))


# The same functions of the kernel serve these as serve the others.
of_one_kernel = pytest.mark.parametrize("kernel", AT_LENGTH, indirect=True)


@pytest.fixture(scope="module")
def session(kernel: Path) -> Iterator[Session]:
    with Session(kernel) as session:
        yield session


@pytest.fixture
def shell(session: Session) -> Shell:
    """The guest's console. The session's own thread leaves the machine alone while no command runs."""
    return Shell(session.machine)


def healthy(shell: Shell) -> None:
    assert shell.run("echo $((6 * 7))") == "42\n"
    assert shell.run("dmesg | grep -iE 'bug:|warning:|scheduling while|unable to handle|rcu.*stall'") == ""


def idle(machine: Machine) -> tuple[int, ...]:
    """Run the guest until it waits for an interrupt. Its PC and stack pointer there."""
    assert machine.run(until="cpu_do_idle", instructions=1_000_000_000).reason is StopReason.UNTIL
    while machine.memory.u32(machine.registers.pc) != 0xD503_207F:  # WFI (Arm ARM, C6.2)
        machine.step()
    return machine.registers.pc, machine.registers.sp


def test_pushed_files_are_those_of_the_host(session: Session, shell: Shell, tmp_path: Path) -> None:
    generator = random.Random(7)
    sizes = [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, *(generator.randrange(5000) for _ in NAMES)]
    for number, (name, size) in enumerate(zip(NAMES, sizes, strict=False)):
        file = tmp_path / name
        file.write_bytes(generator.randbytes(size))
        file.chmod(0o750 if number % 2 else 0o640)
        assert session.guest.push(file, f"/tmp/{number}/new/folder/") == f"/tmp/{number}/new/folder/{name}"
        said = shell.run(f"cd /tmp/{number}/new/folder; cat ./* | sha256sum; stat -c '%a %s' ./*; cd")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert said == f"{digest}  -\n{750 if number % 2 else 640} {size}\n"
    assert shell.run("stat -c %a /tmp/0/new") == "755\n"
    healthy(shell)


@of_one_kernel
def test_where_a_pushed_file_goes(session: Session, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "mine.ko").write_bytes(b"first")
    (tmp_path / "longer").write_bytes(b"a longer text")
    assert session.guest.push(tmp_path / "mine.ko") == f"{HOME}/mine.ko"
    assert session.guest.push(tmp_path / "mine.ko", "sub/name") == f"{HOME}/sub/name"
    assert session.guest.push(tmp_path / "mine.ko", "/tmp") == "/tmp/mine.ko"  # a folder
    assert shell.run("cat mine.ko sub/name /tmp/mine.ko") == "first" * 3
    shell.run("chmod 600 mine.ko")
    session.guest.push(tmp_path / "longer", "mine.ko")
    session.guest.push(tmp_path / "mine.ko")
    assert shell.run("cat mine.ko; stat -c ' %a %s' mine.ko") == "first 600 5\n"  # overwritten, not replaced


@of_one_kernel
def test_a_pushed_folder(session: Session, shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub" / "empty").mkdir(parents=True)
    generator = random.Random(8)
    for number, name in enumerate((*NAMES, "x" * 200)):
        (folder / "sub" / name).write_bytes(generator.randbytes(number * 1000))
    (folder / "script").write_text("#!/bin/sh\necho $0 $1\n")
    (folder / "script").chmod(0o755)
    (folder / "link").symlink_to("sub/plain")
    os.link(folder / "sub" / "plain", folder / "hard")
    assert session.guest.push_folder(folder, "/tmp/it's new") == "/tmp/it's new"
    shell.run('cd "/tmp/it\'s new"')
    try:
        expected = "".join(
            sorted(
                hashlib.sha256(file.read_bytes()).hexdigest() + "\n" for file in folder.glob("sub/*") if file.is_file()
            )
        )
        assert (
            shell.run('cd sub; for f in *; do [ -f "$f" ] && sha256sum < "$f"; done | cut -c-64 | sort; cd ..')
            == expected
        )
        assert (
            shell.run("./script 1; readlink link; stat -c '%u %a' script; ls sub/empty")
            == "./script 1\nsub/plain\n0 755\n"
        )
        assert shell.run("cmp hard sub/plain") == ""
        assert "armprobe" not in shell.run("ls -a /tmp")
    finally:
        shell.run("cd")
    os.mkfifo(folder / "pipe")
    with pytest.raises(MachineError, match=r"pipe: it is not a regular file, a folder or a link"):
        session.guest.push_folder(folder)
    with pytest.raises(MachineError, match=r"script: it is not a folder"):
        session.guest.push_folder(folder / "script")
    with pytest.raises(MachineError, match=r"sub cannot be unpacked in the guest: .*Not a directory"):
        session.guest.push_folder(folder / "sub", "/proc/version/x")


def test_files_and_folders_of_the_command_line(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a:b").write_text("colon\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "one").write_text("one\n")
    line = [
        "--snapshot",
        str(snapshot),
        "--listen",
        "none",
        "--file",
        f"{tmp_path}/a:b",
        "--file",
        f"{tmp_path}/a:b:/x/y",
    ]
    line += ["--dir", f"{tmp_path}/tests:/srv/tests", "--dir", f"{tmp_path}/tests"]
    assert cli.main([*line, "-c", "sh cat a:b /x/y /srv/tests/one tests/one"]) == 0
    assert capsys.readouterr().out == "colon\ncolon\none\none\n"
    assert cli.main([*line, "--file", f"{tmp_path}/absent", "-c", "sh true"]) == 1
    assert "absent: No such file or directory" in capsys.readouterr().err
    assert cli.main(["--listen", "none", "--file", f"{tmp_path}/a:b", "-c", "info"]) == 1
    assert "are those of Linux" in capsys.readouterr().err


def test_pulled_files_are_those_of_the_guest(session: Session, shell: Shell, tmp_path: Path) -> None:
    shell.run("head -c 1500000 /dev/urandom > big; : > empty; echo a > 'odd name'")
    for name in ("big", "empty", "odd name"):
        digest = shell.run(f"sha256sum < '{name}'").split()[0]
        assert hashlib.sha256(session.guest.pull(name)).hexdigest() == digest
        session.guest.pull(name, tmp_path)
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest
    assert session.guest.pull("/proc/version").decode() == shell.run("cat /proc/version")  # its size is 0
    with pytest.raises(MachineError, match=r"a file of that name is there"):
        session.guest.pull("big", tmp_path)
    session.guest.pull("empty", tmp_path / "big", force=True)
    assert (tmp_path / "big").read_bytes() == b""
    healthy(shell)


@of_one_kernel
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", Completed("", "", 0)),
        ("echo out; echo err >&2; exit 3", Completed("out\n", "err\n", 3)),
        ("cat; read x; echo $?", Completed("1\n", "", 0)),  # nothing to read
        ("kill -9 $$", Completed("", "", 137)),
        ("printf 'a\\377\\303\\274'", Completed("a\udcff\u00fc", "", 0)),
        ("pwd; echo $HOME; id -u; tty", Completed("/root\n/root\n0\nnot a tty\n", "", 1)),
        ("yes | head -c 300000 | wc -c", Completed("300000\n", "", 0)),
        ("sleep 1000 & echo began", Completed("began\n", "", 0)),  # which goes on
        ("exec 1>&- 2>&-; sleep 1; exit 4", Completed("", "", 4)),
    ],
)
def test_a_command_s_output_errors_and_status(session: Session, command: str, expected: Completed) -> None:
    assert session.guest.sh(command) == expected


@of_one_kernel
def test_large_output_is_whole(session: Session, shell: Shell) -> None:
    digest = shell.run("sha256sum < /bin/busybox").split()[0]
    said = session.guest.sh("cat /bin/busybox; cat /bin/busybox >&2; exit 5")
    both = [hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() for text in (said.out, said.err)]
    assert (both, said.status) == ([digest, digest], 5)


def test_nothing_is_seen_of_it_on_the_console(session: Session, shell: Shell) -> None:
    place = idle(session.machine)
    printed = bytearray()
    session.machine.console.listen(printed.extend)
    session.guest.sh("ls / /nowhere; echo hello; ps")
    assert (session.machine.registers.pc, session.machine.registers.sp) == place  # it is idle again
    assert printed == b""
    healthy(shell)


@of_one_kernel
def test_a_command_that_does_not_end_is_killed(session: Session, shell: Shell) -> None:
    for command in ("sleep 7777 & sleep 7777", "while :; do :; done", "trap '' TERM INT; yes > /dev/null"):
        with pytest.raises(CommandError, match=r"did not end within 0\.5 s of the guest's time, and was killed"):
            session.guest.sh(command, timeout=0.5)
    with pytest.raises(CommandError, match=r"printed more than 16,777,216 bytes, and was killed"):
        session.guest.sh("cat /dev/zero")
    assert shell.run("ps | grep -E '[7]777|[y]es|[z]ero'") == ""
    healthy(shell)


@of_one_kernel
def test_a_full_file_system(session: Session, shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(3 << 20))
    shell.run("mkdir /tmp/small; mount -t tmpfs -o size=1m none /tmp/small")
    with pytest.raises(MachineError, match=r"/tmp/small/large in the guest: no space left on device, after 1,048,576"):
        session.guest.push(tmp_path / "large", "/tmp/small")
    assert shell.run("stat -c %s /tmp/small/large") == "1048576\n"
    assert session.guest.sh("df /tmp/small | grep -o 100%") == Completed("100%\n", "", 0)
    healthy(shell)


@of_one_kernel
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/root", "it is a folder, not a regular file"),
        ("/dev/zero", "it is a character device, not a regular file"),
        ("/nowhere/x", "no such file or directory"),
        ("/proc/version/x", "not a directory"),
        ("x" * 300, "file name too long"),
        ("/" + "x/" * 3000, "is no path: it is too long"),
        ("a\0b", "is no path"),
    ],
)
def test_what_cannot_be_pulled(session: Session, path: str, reason: str) -> None:
    with pytest.raises((CommandError, MachineError), match=reason):
        session.guest.pull(path)


def test_a_call_that_may_sleep(session: Session, shell: Shell) -> None:
    place, clock = idle(session.machine), session.machine.clock
    before = clock.seconds
    assert session.run("call kworker=yes msleep 50") == "0x0 (0)\n"
    assert 0.05 <= clock.seconds - before < 0.1
    assert (session.machine.registers.pc, session.machine.registers.sp) == place
    assert shell.run(f"cat /proc/{session.guest.call('__arm64_sys_getpid', 0)}/comm").startswith("kworker/")
    healthy(shell)


def test_a_stop_in_between(session: Session, shell: Shell) -> None:
    """The command goes on with the guest, and another can be executed meanwhile."""
    session.run("kprobe ksys_sync stop=pre")
    with pytest.raises(CommandError, match=r"the guest was stopped first, .*kprobe ksys_sync.* goes on when it does"):
        session.run("sh sync; echo done > after")
    state = session.machine.snapshot()
    assert session.machine.symbols.describe(session.machine.registers.pc) == "ksys_sync"
    session.run("unregister all")
    assert session.guest.sh("echo second") == Completed("second\n", "", 0)
    assert session.guest.sh("sleep 1; cat after") == Completed("done\n", "", 0)
    session.machine.restore(state)  # in it, the job of the command is not done
    assert session.guest.sh("echo third") == Completed("third\n", "", 0)
    healthy(shell)
