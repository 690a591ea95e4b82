# SPDX-License-Identifier: GPL-2.0-or-later
"""gdb in control of the demo kernel: attaching, stepping, interrupting, leaving and coming back."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from armprobe.commands import GdbError, GdbSession, Session
from armprobe.stub import serve
from tests.gdb.oracle import DEMO, Demo, registers
from tests.gdb.terminal import Terminal
from tests.waiting import PATIENCE, going_on, wait_until

pytestmark = pytest.mark.sample(of="files")


def armprobe_gdb(gdb_commands: str, *arguments: str) -> str:
    """What `armprobe gdb` prints when these lines are typed at its gdb."""
    command = [sys.executable, "-m", "armprobe", "gdb", *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said, _ = process.communicate(gdb_commands, timeout=PATIENCE)
    assert process.returncode == 0, said
    return said


@pytest.mark.usefixtures("gdb_path")
def test_armprobe_gdb(demo: Demo) -> None:
    """The command line's gdb: the program is known, nothing is warned of, the commands are there."""
    said = armprobe_gdb("kprobe kfree stop=pre\ncontinue\nprint $pc\nbacktrace 1\n")
    assert not re.search("warning|error|unknown|No symbol", said, re.IGNORECASE), said
    assert "kprobe kfree: stage pre, hit 1\n\nProgram received signal SIGTRAP" in said
    assert f"$1 = (void (*)()) {demo.address('kfree'):#x} <kfree>" in said
    assert "[Inferior 1 (process 1) detached]" in said


@pytest.mark.usefixtures("gdb_path")
def test_armprobe_gdb_passes_arguments_on(demo: Demo, tmp_path: Path) -> None:
    """They are carried out when gdb has connected; a file that is given there is gdb's program."""
    script, program = tmp_path / "script", tmp_path / "program"
    script.write_text('printf "=script %lx\\n", $pc\n')
    program.symlink_to(DEMO)
    said = armprobe_gdb(
        "", "--", "-batch", "-x", str(script), "-ex", "break kfree", "-ex", "run", "-ex", "info inferiors", str(program)
    )
    assert "=script 40080000\n" in said
    assert re.search(rf"^\* 1 .* {program} *$", said, re.MULTILINE)
    assert re.search(r"^Breakpoint 1, kfree \(", said, re.MULTILINE)


@pytest.mark.usefixtures("gdb_path")
def test_run_in_armprobe_gdb_at_a_terminal() -> None:
    """It starts the guest anew, as often as it is typed."""
    with Terminal([sys.executable, "-m", "armprobe", "gdb", "--", "-nx"]) as terminal:
        terminal.expect(r"\(gdb\) ")
        terminal.type("set confirm off", "break kfree", "run", "print $x0", "run", "print $x0", "quit")
        said = terminal.rest()
    first, second = re.findall(r"^\$\d = (.*)$", said, re.MULTILINE)
    assert first == second
    assert said.count("Breakpoint 1, kfree (") == 2
    assert not re.search("warning|error", said, re.IGNORECASE)


def test_attach_without_a_warning(session: Session, gdb_path: str, gdbinit: Path) -> None:
    """As the README has it: gdb, a file, target remote."""
    with serve(session, "127.0.0.1:0") as server:
        attach = ["-ex", f"target remote {server.address}", "-ex", "info registers"]
        command = [gdb_path, "-nx", "-batch", str(DEMO), *attach]
        run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("0x0000000040080000 in ?? ()\nx0 ")


def test_stepi_follows_the_code(gdb: GdbSession, demo: Demo) -> None:
    """Each step of a leaf function goes to the next line of objdump's, or where its branch leads."""
    gdb.execute("tbreak *fnv1a_update" if "fnv1a_update" in demo.symbols else "tbreak *strlen")
    gdb.continue_to_stop()
    pc = gdb.register("pc")
    for _ in range(60):
        instruction = demo.instructions[pc]
        target = re.search(r"([0-9a-f]{16})", instruction.operands)
        allowed = {pc + 4} if instruction.name != "b" else set()
        if instruction.name == "ret":
            allowed = {gdb.register("x30")}
        elif target and instruction.name not in ("adr", "adrp"):
            allowed.add(int(target[1], 16))
        gdb.step()
        pc = gdb.register("pc")
        assert pc in allowed, instruction


def test_next_and_finish(gdb: GdbSession, session: Session) -> None:
    """Over calls of functions that have probes on them, which do not stop."""
    gdb.execute("tbreak string_round")
    gdb.continue_to_stop()
    for command in ("kretprobe snprintf", "kprobe workload_mix", "kretprobe strlen"):
        gdb.execute(command)
    lines = [int(gdb.execute("next").split("\t", 1)[0]) for _ in range(6)]
    assert lines == sorted(lines)
    line = gdb.execute("x/s line").split('"')[1]
    assert re.fullmatch(r"round 0: [0-9a-f]{8} -\d+", line)
    hits = {probe.name: probe.hits for probe in session.kprobes.list()}
    assert hits == {"snprintf": 1, "workload_mix": 2, "strlen": 1}
    gdb.execute("tbreak strcmp")
    gdb.continue_to_stop()
    said = gdb.execute("finish")
    assert "Run till exit" in said
    assert said.split("Value returned is ")[1].split(" = ")[1] == "0\n"
    assert "string_round" in gdb.execute("frame")


def test_finish_from_a_function_with_a_kretprobe(gdb: GdbSession, demo: Demo, session: Session) -> None:
    """Entered before the probe was set it returns to its caller; entered after it, through the trampoline."""
    gdb.execute("tbreak kmalloc")
    gdb.continue_to_stop()
    gdb.step()
    gdb.execute("kretprobe kmalloc")
    assert "slab_round" in gdb.execute("finish")
    gdb.execute("kprobe kmalloc stop=pre")
    gdb.continue_to_stop()
    said = gdb.execute("finish")
    assert gdb.register("pc") in demo.return_addresses("kmalloc"), said
    calls = [hit for hit in session.kprobes.hits if hit.probe.kind == "kretprobe"]
    assert [(hit.number, hit.stage.value) for hit in calls] == [(1, "entry"), (1, "return")]


def test_a_line_step_into_a_function(gdb: GdbSession) -> None:
    gdb.execute("tbreak string_round")
    gdb.continue_to_stop()
    assert "next_random (w=" in gdb.execute("step")
    assert re.search(r"string_round", gdb.execute("up"))


def test_interrupt(gdb: GdbSession, session: Session) -> None:
    """Ctrl-C while the guest runs; several times, and it goes on from where it was."""
    counts = []
    for _ in range(3):
        gdb.cont()
        going_on(session)
        stop = gdb.interrupt(PATIENCE)
        assert (stop.reason, stop.signal) == ("signal-received", "SIGINT")
        counts.append(session.machine.instructions)
        assert gdb.register("pc") == session.machine.registers.pc
    assert counts == sorted(set(counts))
    gdb.execute("tbreak batch_report")
    assert gdb.continue_to_stop(PATIENCE).function == "batch_report"
    assert gdb.evaluate("workload.failures") == "0"


def test_detach_and_attach_again(gdb: GdbSession, session: Session, demo: Demo) -> None:
    """Probes stay, gdb's breakpoints go; the guest is where it was left."""
    gdb.execute("kprobe kfree stop=pre")
    gdb.execute("break next_random")
    gdb.continue_to_stop()
    before = registers(gdb)
    address = re.findall(r"^\* 1 +remote (\S+)", gdb.execute("info connections"), re.MULTILINE)[0]
    gdb.execute("detach")
    with pytest.raises(GdbError, match=r"not connected to an armprobe machine"):
        gdb.execute("probes")
    start, size = demo.symbols["next_random"]
    assert not any(session.machine.breakpoints.count(address) for address in range(start, start + size, 4))
    assert "kprobe kfree: stage pre, hit 1 at kfree" in session.run("continue")
    gdb.execute("delete")
    gdb.execute(f"target remote {address}")
    assert gdb.register("pc") == demo.address("kfree")
    assert before["pc"] != gdb.register("pc")
    assert "kfree" in gdb.execute("probes")
    assert gdb.continue_to_stop().console.startswith("kprobe kfree: stage pre, hit 2\n")


def test_a_gdb_that_is_killed(session: Session, gdb_path: str, gdbinit: Path) -> None:
    """The machine stops and stays as it is, for the next gdb and for the prompt."""
    with serve(session, "127.0.0.1:0") as server:
        command = [gdb_path, "-nx", "-batch", str(DEMO), "-ex", f"target remote {server.address}", "-ex", "continue"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: session.machine.instructions > 1_000_000, "the guest runs")
            process.kill()
        with GdbSession(server.address, gdb=gdb_path, gdbinit=gdbinit) as gdb:
            assert gdb.register("pc") == session.machine.registers.pc
            gdb.execute("tbreak string_round")
            assert gdb.continue_to_stop().function == "string_round"
        assert "kfree" in session.run("kprobe kfree")


def test_kill(gdb: GdbSession, session: Session) -> None:
    """The guest is as it was at the start, without probes, and can be attached to again."""
    address = re.findall(r"^\* 1 +remote (\S+)", gdb.execute("info connections"), re.MULTILINE)[0]
    gdb.execute("kprobe kfree stop=pre")
    gdb.continue_to_stop()
    gdb.execute("kill")
    assert session.kprobes.list() == []
    gdb.execute(f"target remote {address}")
    assert (gdb.register("pc"), session.machine.instructions) == (0x40080000, 0)
    gdb.execute("tbreak string_round")
    assert gdb.continue_to_stop().function == "string_round"


def test_power_off(gdb: GdbSession, session: Session) -> None:
    """`q` on the console powers the machine off: gdb sees the program exit, and further requests are answered."""
    gdb.execute("tbreak workload_run")
    gdb.continue_to_stop()
    session.machine.console.write(b"q")
    stop = gdb.continue_to_stop()
    assert (stop.reason, stop.pc) == ("exited-normally", None)
    assert "powered the machine off" in session.run("info")


@pytest.mark.usefixtures("gdb_path")
def test_the_prompt_while_gdb_is_in_control(gdb: GdbSession, session: Session) -> None:
    """Looking is allowed, running is not, and the refusal says why."""
    gdb.execute("tbreak string_round")
    gdb.continue_to_stop()
    assert "string_round" in session.run("info")
    with pytest.raises(Exception, match="gdb is in control of the guest"):
        session.run("continue")
    session.run("kprobe strlen stop=pre")
    assert gdb.continue_to_stop().console.startswith("kprobe strlen: stage pre, hit 1\n")


def test_probes_set_while_the_guest_runs(gdb: GdbSession, session: Session) -> None:
    """From the prompt, gdb having let the guest go: gdb gets the stop."""
    gdb.execute("tbreak workload_run")
    gdb.continue_to_stop()
    gdb.cont()
    session.run("kretprobe hanoi stop=return")
    stop = gdb.wait_for_stop(PATIENCE)
    assert stop.console.startswith("kretprobe hanoi: stage return, hit ")


def test_recording_by_gdb(gdb: GdbSession, demo: Demo) -> None:
    """`record full`: gdb keeps what each step changes, and goes back by itself."""
    gdb.execute("tbreak strlen")
    gdb.continue_to_stop()
    before = [registers(gdb)]
    gdb.execute("record full")
    for _ in range(4):
        gdb.step()
        before.append(registers(gdb))
    assert before[0]["pc"] == demo.address("strlen") != before[4]["pc"]
    for state in reversed(before[:-1]):
        gdb.execute("reverse-stepi")
        assert registers(gdb) == state
    gdb.execute("record stop")
    assert gdb.step().pc == before[1]["pc"]
