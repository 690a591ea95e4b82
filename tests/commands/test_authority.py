# SPDX-License-Identifier: GPL-2.0-or-later
"""What of this computer a command may touch, and for whom."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.declaration import Arg, Arguments, Command, Option, path
from armprobe.commands.registry import Registry
from armprobe.commands.render.text import as_text
from armprobe.session.authority import Asker, Host, acting_for, asker
from armprobe.stub import PRIVATE, serve
from tests.commands.toy import Said  # tests have no import name to go by
from tests.stub.client import Client

pytestmark = pytest.mark.sample(of="files")


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("demo", memory="16M") as session:
        yield session


def monitor(debugger: Client, line: str) -> str:
    """What gdb's `monitor` shows, after it was seen that armprobe's own packet has the same."""
    said, reply = "", debugger.ask(b"qRcmd," + line.encode().hex().encode())
    while reply[:1] == b"O" and reply != b"OK":
        said += bytes.fromhex(reply[1:].decode()).decode()
        reply = debugger.packet()
    return said


def proxied(debugger: Client, line: str) -> tuple[bool, str]:
    """What a command of gdb's own gives: whether it succeeded, and its text."""
    reply = debugger.ask(b"qArmprobe.run:" + line.encode().hex().encode())
    return reply[:1] == b"1", bytes.fromhex(reply[1:].decode()).decode()


REFUSED = "not for a debugger over TCP or of another user"


def test_a_debugger_on_tcp_has_no_files(session: Session, tmp_path: Path) -> None:
    there, new = tmp_path / "there", tmp_path / "new"
    there.write_bytes(bytes.fromhex("1f2003d5"))
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as debugger:
        answers = []
        for file in (there, new):
            for line in (f"save {file}", f"sav '{file}'", f"decode {file}", f"decode '{file}' era=all"):
                assert REFUSED in monitor(debugger, line), line
                succeeded, said = proxied(debugger, line)
                assert not succeeded
                answers.append(said.replace(str(file), "FILE"))
        assert answers[:4] == answers[4:]  # so that nobody learns which files there are
        for line in ("quit", "exit", "q"):
            assert REFUSED in monitor(debugger, line)
        assert not session.finished
        assert "did you mean kfree?" in monitor(debugger, "decode kfre")
        assert "NOP" in monitor(debugger, "decode 0xd503201f").upper()
        assert "strlen in" in monitor(debugger, "decode strlen")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["there"]


@pytest.mark.parametrize(("address", "trust_tcp"), [("127.0.0.1:0", True), (PRIVATE, False)])
def test_one_that_is_trusted_has(session: Session, tmp_path: Path, address: str, trust_tcp: bool) -> None:
    word = tmp_path / "word"
    word.write_bytes(bytes.fromhex("1f2003d5"))
    with serve(session, address, trust_tcp=trust_tcp) as server, Client(server.address) as debugger:
        assert "1 instructions: 1 executed in a slot" in monitor(debugger, f"decode {word}")
        assert "saved" in monitor(debugger, f"save {tmp_path / 'saved'}")
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("flags", [[], ["--trust-tcp"]], ids=["default", "trust-tcp"])
def test_the_command_line_decides(tmp_path: Path, flags: list[str]) -> None:
    words = ["serve", "--listen", "127.0.0.1:0", "--memory", "16M", *flags]
    command = [sys.executable, "-m", "armprobe", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            with Client(found[0]) as debugger:
                assert (REFUSED in monitor(debugger, f"save {tmp_path / 'x'}")) is not bool(flags)
        finally:
            process.terminate()
    assert (tmp_path / "x").exists() is bool(flags)


def test_so_have_scripts_and_the_prompt_whoever_is_attached(session: Session, tmp_path: Path) -> None:
    with serve(session, "127.0.0.1:0") as server, Client(server.address) as debugger:
        assert REFUSED in monitor(debugger, f"save {tmp_path / 'theirs'}")
        assert "saved" in session.run(f"save {tmp_path / 'ours'}")
        assert REFUSED in monitor(debugger, f"save {tmp_path / 'theirs'}")
    assert [each.name for each in tmp_path.iterdir()] == ["ours"]


def test_each_debugger_has_its_own(session: Session, tmp_path: Path) -> None:
    with serve(session) as trusted, serve(session, "127.0.0.1:0") as other:
        for server in (trusted, other, trusted, other):
            with Client(server.address) as debugger:
                assert (REFUSED in monitor(debugger, f"save {tmp_path / 'x'}")) is (server is other)
                assert debugger.ask(b"D") == b"OK"
                debugger.rest()


def test_two_servers_of_one_machine_are_one_control(session: Session) -> None:
    """Or the one on TCP would have what the other one may."""
    with serve(session) as trusted, serve(session, "127.0.0.1:0") as other, Client(other.address) as debugger:
        with Client(trusted.address, handshake=False) as second:
            assert b"another debugger is in control" in second.ask(b"?")
        assert debugger.ask(b"qC") == b"QC1"


def test_the_files_lent_by_a_debugger_go_with_it(session: Session) -> None:
    """The guest's semihosting would read and write those of the next one."""
    with serve(session, "127.0.0.1:0") as server:
        for lent in (False, True):
            session.run(f"semihosting files={'gdb' if lent else 'none'}")
            with Client(server.address) as debugger:
                assert "those of the gdb" in monitor(debugger, "semihosting files=gdb")
                assert session.debug_target.lends_files
                assert debugger.ask(b"D") == b"OK"
                debugger.rest()
            with Client(server.address) as debugger:
                assert session.debug_target.lends_files is lent  # as it was said here
                assert "none" in monitor(debugger, "semihosting files=none")
        session.run("semihosting files=none")


# What the registry does with declarations.


def test_arguments_that_are_files() -> None:
    def show(session: object, arguments: Arguments) -> Said:
        return Said(f"{arguments.file} {arguments.log} {asker().name}")

    def nested(session: object, arguments: Arguments) -> object:
        return registry.run(session, "show x", lambda value: None)

    registry = Registry(
        (
            Command(
                "show",
                "Show it.",
                (
                    Arg("file", "what", type=path, host=Host.READS_FILES, optional=True),
                    Option("log", "where to", type=path, host=Host.WRITES_FILES),
                ),
                show,
            ),
            Command("undeclared", "Forget to.", (Arg("file", "what", type=path),), show),
            Command("nested", "Show x.", (), nested),
            Command("go", "Go.", (), lambda session, arguments: Said("gone"), host=Host.PROCESSES),
        )
    )

    def run(line: str, by: Asker) -> str:
        said: list[str] = []
        with acting_for(by):
            registry.run(None, line, lambda value: said.append(as_text(value)))
        return "".join(said)

    assert asker() is Asker.LOCAL
    assert run("show a log=b", Asker.LOCAL) == "a b LOCAL"
    assert run("show a log=b", Asker.TRUSTED) == "a b TRUSTED"
    assert run("show", Asker.OTHER) == "None None OTHER"
    for line, reason in {
        "show a": "with FILE 'a' this command reads files of this computer",
        "show log=a": "with log= 'a' this command writes files of this computer",
        "undeclared a": "with FILE 'a' this command",
        "nested": "with FILE 'x' this command reads",
        "go": "go starts or ends processes of this computer",
    }.items():
        with pytest.raises(CommandError, match=f"^{reason}.*{REFUSED}"):
            run(line, Asker.OTHER)
        assert asker() is Asker.LOCAL
    assert "It reads files of this computer and writes files of this computer" in registry.find("show").manual.touches
    assert "this computer" not in as_text(registry.find("nested").manual)


# All commands there are, with a file for each argument that they have, in a process that notes what is opened.
_AUDIT = """
import json, os, sys
from pathlib import Path
folder, seen = sys.argv[1], []
WATCHED = ("subprocess", "os.system", "os.exec", "os.posix_spawn", "os.fork", "shutil", "tempfile", "socket.connect")

def hook(event, arguments):
    if watching and (folder in repr(arguments) or event.startswith(WATCHED)):
        seen.append(f"{asked}: {event} {arguments!r}")

watching, asked = False, ""
sys.addaudithook(hook)
sys.path.insert(0, os.getcwd())
from armprobe.commands import Session
from armprobe.commands.declaration import Arg, Clause, Option
from armprobe.stub import serve
from tests.commands.test_authority import monitor, proxied
from tests.stub.client import Client

lines = 0
with Session("demo", memory="16M") as session, serve(session, "127.0.0.1:0", trust_tcp=sys.argv[2] == "True") as server:
    with Client(server.address) as debugger:
        for command in session.shell.registry.commands:
            positional = [arg for arg in command.args if isinstance(arg, Arg)]
            for file in (f"{folder}/there", f"{folder}/new"):
                for arg in command.args or (None,):
                    words = [command.name]
                    if isinstance(arg, Arg):
                        words += ["strlen"] * positional.index(arg) + [file]
                    elif isinstance(arg, Option):
                        words += ["strlen" for each in positional if not each.optional] + [f"{arg.name}={file}"]
                    elif isinstance(arg, Clause):
                        words += ["strlen", arg.keyword, file]
                    asked = " ".join(words)
                    if command.name == "continue":
                        asked += " instructions=1000"
                    if session.kprobes.list():
                        session.run("unregister all")  # or nothing is saved
                    watching = True
                    monitor(debugger, asked)
                    proxied(debugger, asked)
                    debugger.ask(b"qArmprobe.complete:" + asked.encode().hex().encode())
                    watching = False
                    lines += 1
print(json.dumps({"lines": lines, "seen": seen}))
"""


@pytest.mark.parametrize("trusted", [False, True])
def test_no_command_touches_the_host_for_a_debugger_on_tcp(tmp_path: Path, trusted: bool) -> None:
    """That those of one that is trusted do shows that it would be noticed."""
    (tmp_path / "there").write_bytes(bytes.fromhex("1f2003d5"))
    root = Path(__file__).parents[2]
    program = [sys.executable, "-c", _AUDIT, str(tmp_path), str(trusted)]
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["lines"] > 60
    touched = {line.split()[0] for line in found["seen"]}
    wanted = {"save", "load", "decode", "push", "pull", "source", "trace", "events"}
    assert touched == (wanted if trusted else set()), found["seen"]
    assert sorted(each.name for each in tmp_path.iterdir() if not trusted) == ([] if trusted else ["there"])


def test_another_user_s_debugger_on_our_socket(session: Session) -> None:
    """Somebody may have opened a socket to others: they get the guest, and not our files."""
    if os.geteuid():
        pytest.skip("only root can be another user")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own is for its user only
        place = Path(folder, "stub")
        program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.commands.test_authority import monitor
from tests.stub.client import Client
os.setgid(65534); os.setuid(65534)
with Client("unix:{place}") as debugger:
    print(monitor(debugger, "save {folder}/x"), monitor(debugger, "decode 0xd503201f"))
"""
        with serve(session, f"unix:{place}"):
            place.parent.chmod(0o777)
            refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
            assert "PermissionError" in refused.stderr  # as it is made, nobody else gets in
            place.chmod(0o666)
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert REFUSED in done.stdout, done.stderr
        assert "nop" in done.stdout
        assert not Path(folder, "x").exists()


def test_the_files_of_a_gdb_session(session: Session, tmp_path: Path, gdb_path: str) -> None:
    from armprobe.commands import GdbSession

    with GdbSession(session, gdb=gdb_path) as gdb:
        assert "saved" in gdb.execute(f"guest-save {tmp_path / 'x'}")
    assert (tmp_path / "x").exists()
