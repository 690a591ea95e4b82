# SPDX-License-Identifier: GPL-2.0-or-later
"""armprobe's commands inside a real gdb, which gets them through the stub from the session's registry."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from armprobe.clients import GdbError, GdbSession
from armprobe.clients.gdb_session import GDBINIT, PROXY
from armprobe.commands.declaration import Command
from armprobe.commands.registry import Registry
from armprobe.commands.render.text import as_text
from armprobe.stub import serve
from tests.commands.toy import COMMANDS, ToySession
from tests.gdb.terminal import CTRL_C, TIMEOUT, Terminal  # tests have no import name to go by
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

ROOT = Path(__file__).parents[2]
COUNT = COMMANDS[2]


def batch(gdb_path: str, *commands: str, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What a gdb says that is given commands on its command line and then leaves."""
    arguments = [part for command in commands for part in ("-ex", command)]
    clean = {name: value for name, value in os.environ.items() if name != "ARMPROBE_GDB_PROXY"}
    return subprocess.run(
        [gdb_path, "-nx", "-q", "-batch", *arguments],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def completions(gdb: GdbSession, line: str) -> list[str]:
    return gdb.execute(f"complete {line}").splitlines()


def test_a_command_runs_in_the_session(gdb: GdbSession) -> None:
    assert gdb.execute("probe kfree 3 stop=pre max-active=0x10") == (
        "symbol=kfree count=3 stop=('pre',) max_active=16\n"
    )
    assert gdb.execute("armprobe-echo  'a  b' é") == "'a  b' é\n"


def test_its_errors_are_gdb_s_errors(gdb: GdbSession) -> None:
    with pytest.raises(GdbError, match=r"^there is no function nothing$"):
        gdb.execute("probe nothing")
    with pytest.raises(GdbError, match=r"^probe needs SYMBOL .*; usage: probe SYMBOL"):
        gdb.execute("probe")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("probe kf", ["probe kfree", "probe kfree+0x10"]),
        ("probe kfree+0x", ["probe kfree+0x10"]),  # gdb takes the word to begin after the +
        ("probe kfree stop=", ["probe kfree stop=post", "probe kfree stop=pre"]),
        ("probe kfree stop=pre,", ["probe kfree stop=pre,post"]),
        ("probe do_sys_open max", ["probe do_sys_open max-active="]),
        ("probe 'k", []),
        ("probe zzz", []),
        ("tick ", []),
    ],
)
def test_completion(gdb: GdbSession, line: str, expected: list[str]) -> None:
    assert completions(gdb, line) == expected


def test_help_is_the_declaration_s(gdb: GdbSession) -> None:
    (command,) = (command for command in COMMANDS if command.name == "probe")
    assert gdb.execute("help probe") == as_text(command.manual)
    listed = gdb.execute("help user-defined")
    assert "probe -- Put a probe on a function.\n" in listed
    assert "defect" not in listed


def test_gdb_keeps_its_own_commands(gdb: GdbSession) -> None:
    assert gdb.execute("probe-enable a b") == "enabled ('a', 'b')\n"
    assert gdb.execute("help enable").startswith("enable, en\n")
    assert "gdb has its own enable; armprobe's is probe-enable here." in gdb.execute("help probe-enable")
    assert gdb.execute("echo hi") == "hi"


def test_a_name_that_would_shadow_gdb_s_is_refused_even_if_it_is_an_abbreviation(gdb_path: str) -> None:
    def named(name: str) -> Command:
        return replace(COUNT, name=name, gdb=True)

    # exact (stepi), an abbreviation (disas) and an ambiguous one (sh); trickle and trick are ours, and abbreviate
    # nothing of gdb's
    session = ToySession(tuple(map(named, ("stepi", "disas", "sh", "trickle", "trick"))))
    with serve(session, "127.0.0.1:0") as server:
        done = batch(
            gdb_path,
            f"source {PROXY}",
            f"target remote {server.address}",
            "stepi",
            "trick 1",
            "trickle 1",
            "help stepi",
        )
    for name in ("stepi", "disas", "sh"):
        assert f"gdb has a command {name} already: armprobe's is monitor {name}\n" in done.stdout
    assert done.stdout.count("hit 0\n") == 2
    assert "Step one instruction exactly." in done.stdout


def test_gdb_s_caches_are_dropped_after_a_command_that_changes_the_machine(
    gdb: GdbSession, session: ToySession
) -> None:
    assert gdb.register("x0") == 0x1000
    gdb.execute("load-x0 0x77")
    assert gdb.register("x0") == 0x77
    session.registers["x0"] = 0x88  # behind gdb's back: without a command of that kind it does not look
    gdb.execute("tick")
    assert gdb.register("x0") == 0x77


def test_output_larger_than_a_packet(gdb: GdbSession) -> None:
    count = 30_000
    text = gdb.execute(f"hits {count}")
    assert text == "".join(f"hit {number}\n" for number in range(count))
    assert len(text) * 2 > 0x20000  # the stub's PacketSize


def test_a_line_larger_than_a_packet_is_refused(gdb: GdbSession) -> None:
    with pytest.raises(GdbError, match=r"^the line is too long: a packet of 1\d{5} bytes, where 131072 are allowed$"):
        gdb.execute("armprobe-echo " + "x" * 70_000)
    assert gdb.execute("armprobe-echo x") == "x\n"


def test_a_command_may_take_longer_than_gdb_waits_for_a_packet(gdb: GdbSession) -> None:
    gdb.execute("set remotetimeout 2")  # after three of which gdb takes the reply for lost
    assert gdb.execute("wait 7") == "started\nwaited\n"
    assert gdb.execute("tick") == "tick 1\n"
    assert gdb.execute('output $_gdb_setting("remotetimeout")') == "2"


def test_ctrl_c_interrupts_a_command(session: ToySession, gdb_path: str) -> None:
    with serve(session, "127.0.0.1:0") as server, Terminal([gdb_path, "-nx", "-q", "-x", str(PROXY)]) as terminal:
        terminal.type(f"target remote {server.address}", "wait 600")
        assert session.started.wait(TIMEOUT)
        terminal.press(CTRL_C)
        terminal.expect("started\ninterrupted\n")
        terminal.type("tick")
        terminal.expect("^tick 1\n")


def test_only_commands_declared_so_are_repeated_by_an_empty_line(session: ToySession, gdb_path: str) -> None:
    with serve(session, "127.0.0.1:0") as server:
        done = subprocess.run(
            [gdb_path, "-nx", "-q", "-ex", f"source {PROXY}", "-ex", f"target remote {server.address}"],
            input="tick\n\n\nprobes\n\n\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.stdout.count("tick ") == 3
    assert done.stdout.count("none\n") == 1


def test_gdbinit_finds_the_proxy_by_the_environment(session: ToySession, gdb_path: str, tmp_path: Path) -> None:
    with serve(session, "127.0.0.1:0") as server:
        commands = (f"source {GDBINIT}", f"target remote {server.address}", "tick")
        done = batch(gdb_path, *commands, cwd=tmp_path, ARMPROBE_GDB_PROXY=str(PROXY))
    assert "tick 1\n" in done.stdout


def test_names_of_the_users_python_and_armprobes_do_not_meet(session: ToySession, gdb_path: str) -> None:
    names = "ask", "run", "json", "os", "path", "Proxy", "PROXY"
    with serve(session, "127.0.0.1:0") as server:
        done = batch(
            gdb_path,
            f"python {' = '.join(names)} = 5",
            f"source {GDBINIT}",
            f"target remote {server.address}",
            "tick",
            f"python print({' + '.join(names)})",
            ARMPROBE_GDB_PROXY=str(PROXY),
        )
    assert "tick 1\n" in done.stdout
    assert f"\n{5 * len(names)}\n" in done.stdout


def test_gdbinit_finds_the_proxy_below_the_current_directory(session: ToySession, gdb_path: str) -> None:
    with serve(session, "127.0.0.1:0") as server:
        done = batch(gdb_path, "source gdbinit", f"target remote {server.address}", "tick", cwd=ROOT)
    assert "tick 1\n" in done.stdout


def test_gdbinit_says_so_if_it_does_not_find_the_proxy(gdb_path: str, tmp_path: Path) -> None:
    done = batch(gdb_path, f"source {GDBINIT}", cwd=tmp_path)
    assert "armprobe's gdb_proxy.py is not found: set ARMPROBE_GDB_PROXY to its path" in done.stderr
    assert "Traceback" not in done.stderr


def test_sourced_after_connecting_and_sourced_twice(session: ToySession, gdb_path: str) -> None:
    with serve(session, "127.0.0.1:0") as server:
        done = batch(gdb_path, f"target remote {server.address}", f"source {PROXY}", "tick", f"source {PROXY}", "tick")
    assert "tick 1\n" in done.stdout
    assert "tick 2\n" in done.stdout
    assert "already" not in done.stdout + done.stderr


def test_the_table_is_fetched_once_for_each_connection(
    session: ToySession, gdb_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def command_table() -> str:
        fetched.append("")
        return session.registry.table()

    monkeypatch.setattr(session, "command_table", command_table)
    with serve(session, "127.0.0.1:0") as server:
        connect = f"target remote {server.address}"
        batch(gdb_path, f"source {PROXY}", connect, "stepi", "stepi", "disconnect", connect, "stepi")
    assert len(fetched) == 2


def test_another_machine_s_commands_are_those_of_its_own_table(session: ToySession, gdb: GdbSession) -> None:
    other = ToySession((COUNT, replace(COUNT, name="strikes")))
    with serve(other, "127.0.0.1:0") as server:
        gdb.execute(f"target remote {server.address}")
        assert gdb.execute("strikes 1") == "hit 0\n"
        with pytest.raises(GdbError, match="no command 'tick'"):
            gdb.execute("tick")
        gdb.execute("disconnect")
    with pytest.raises(GdbError, match="not connected to an armprobe machine"):
        gdb.execute("strikes 1")
    assert completions(gdb, "probe kf") == []


def test_while_the_guest_runs_a_command_is_refused_in_a_sentence(gdb: GdbSession) -> None:
    gdb.cont()
    with pytest.raises(GdbError, match="running"):
        gdb.execute("probe kfree")
    gdb.interrupt()
    assert gdb.execute("tick") == "tick 1\n"


def test_a_stub_that_dies_is_an_error(gdb: GdbSession) -> None:
    assert gdb._server
    gdb._server.close()
    with pytest.raises(GdbError):
        gdb.execute("tick")


def test_the_table_is_json_gdb_s_python_can_read() -> None:
    assert {entry["name"] for entry in json.loads(Registry(COMMANDS).table())} >= {"probe", "help"}
