# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin for pytest, as its users have it: a pytest of its own runs test files with its fixtures."""

import re
import shutil
from pathlib import Path

import pytest

from armprobe.guests.linux import cache_directory
from armprobe.machine import load
from tests.waiting import PATIENCE

pytestmark = pytest.mark.sample(of="files")

pytest_plugins = "pytester"

ROOT = Path(__file__).parents[2]
CACHE = cache_directory().parent


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))  # pytester's HOME is empty: each test would boot a kernel
    pytester.makepyprojecttoml(
        "[tool.pytest.ini_options]\naddopts = ['--strict-markers']\nfilterwarnings = ['error']\n"
    )
    return pytester


def run(pytester: pytest.Pytester, *arguments: str, **outcomes: int) -> str:
    """Run pytest and expect these outcomes. Returns what it prints."""
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=PATIENCE)
    done.assert_outcomes(**outcomes)
    return done.stdout.str()


def sections(output: str) -> dict[str, str]:
    """The sections of a report, by their headings."""
    parts = re.split(r"^-+ (armprobe .+?) -+$|^=+ .+ =+$|^_+ .+ _+$", output, flags=re.MULTILINE)
    return {heading: text for heading, text in zip(parts[1::2], parts[2::2], strict=True) if heading}


def test_an_error_in_a_handler_fails_the_test(pytester: pytest.Pytester) -> None:
    """The traceback is the handler's own. A test that expects the error takes it out of the list."""
    pytester.makepyfile(
        """
        from armprobe import Kprobe, Kretprobe

        def test_fails(demo, kprobes):
            def wrong(ri, regs):
                assert regs.return_value == 12
            kprobes.register_kretprobe(Kretprobe("kmalloc", handler=wrong))
            demo.machine.run(instructions=100_000)

        def test_expects_it(demo, kprobes):
            def wrong(p, regs):
                raise ValueError
            kprobes.register_kprobe(Kprobe("kmalloc", pre_handler=wrong))
            demo.machine.run(instructions=100_000)
            assert isinstance(kprobes.errors.pop().error, ValueError)
        """
    )
    output = run(pytester, "--tb=short", failed=1, passed=1)
    report = output.partition(" test_fails ")[2].partition("Captured log")[0]
    assert re.findall(r"^\S+:\d+: in (\w+)$", report, re.MULTILINE) == ["wrong"]
    assert "in the return handler of the kretprobe on kmalloc" in report


def test_the_traceback_of_a_refusal_ends_in_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_fails(demo):\n    demo.run('kprobe kmaloc')")
    output = run(pytester, "--tb=short", failed=1)
    assert re.findall(r"^\S+:\d+: in (\w+)$", output, re.MULTILINE) == ["test_fails"]
    assert "there is no symbol 'kmaloc': did you mean kmalloc?" in output


def test_a_report_of_a_failure(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from armprobe import Kprobe

        def test_fails(demo, kprobes):
            kprobes.register_kprobe(Kprobe("kmalloc"))
            demo.machine.run(until="kfree")
            assert not demo.kprobes.list()

        def test_passes(demo):
            demo.machine.run(until="kfree")
        """
    )
    output = run(pytester, failed=1, passed=1)
    reported = sections(output)
    assert list(reported) == ["armprobe trace (demo)", "armprobe console (demo)", "armprobe registers (demo)"]
    demo = load("demo")
    demo.run(until="kfree")
    # Its address is the linker's, in the ELF. The text is that of guests/demo/kernel/main.c.
    assert f"at kfree\n  pc : {demo.symbols['kfree'].address:#018x} kfree" in reported["armprobe registers (demo)"]
    assert "demo kernel: AArch64 at EL1" in reported["armprobe console (demo)"]
    assert re.search(r"(?m)kmalloc: \(kmalloc\+0x0/\w+\) size=[0-9]+ flags=[0-9]+$", reported["armprobe trace (demo)"])


def test_a_report_has_no_registers_of_a_guest_that_the_test_has_not_stopped(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_fails(demo): assert demo.name != 'demo'")
    assert list(sections(run(pytester, failed=1))) == ["armprobe trace (demo)", "armprobe console (demo)"]


def test_a_guest_cannot_write_to_the_terminal(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        r"""
        def test_fails(demo):
            for byte in b"\x1b]0;title\x07 \x1b[2J \x07 \x9b plain\r\n":
                demo.machine.uart.write(0, 4, byte)
            assert False
        """
    )
    output = run(pytester, "--color=no", failed=1)
    assert "plain" in sections(output)["armprobe console (demo)"]
    assert {each for each in output if not each.isprintable()} <= {"\n"}


def test_nothing_is_seen_by_the_next_test(pytester: pytest.Pytester) -> None:
    """Each test does all of it, after it has found none of it: in any order, on any worker."""
    pytester.makepyfile(
        """
        import pytest
        from armprobe import Kprobe

        @pytest.mark.parametrize("number", range(4))
        def test_isolated(number, demo, kprobes):
            machine = demo.machine
            assert kprobes.list() == []
            assert machine.instructions == 0
            assert machine.registers.x[7] == 0
            assert machine.memory.physical.read(0x4800_0000, 4) == bytes(4)
            assert machine.console.read() == b""
            with pytest.raises(Exception, match="there is no snapshot"):
                demo.run("restore mine")
            kprobes.register_kprobe(Kprobe("kmalloc", pre_handler=lambda p, regs: 1 / 0))
            machine.breakpoints.add(machine.symbols["kfree"].address)
            machine.run(until="kmalloc")
            machine.registers.x[7] = 7
            machine.memory.physical.write(0x4800_0000, b"mine")
            demo.run("snapshot mine")
        """
    )
    run(pytester, "-n2", passed=4)


@pytest.mark.usefixtures("snapshot")
def test_a_linux_guest(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_isolated(number, linux, kprobes):
            assert kprobes.list() == []
            assert linux.guest.sh("ls mine").status == 1
            with kprobes.kprobe("vfs_write") as probe:
                assert linux.guest.sh("echo mine >mine").status == 0
            assert probe.hits
            assert kprobes is linux.kprobes
        """
    )
    run(pytester, passed=2)


@pytest.mark.usefixtures("snapshot")
def test_a_snapshot_as_the_kernel(pytester: pytest.Pytester) -> None:
    """Such as one with a module in it: its tests begin where it was saved."""
    pytester.makepyfile(
        before="""
        def test_save(linux):
            linux.guest.sh("echo there >/file")
            linux.run("save mine.snapshot")
        """,
        after="""
        def test_it_is_there(linux):
            assert linux.guest.sh("cat /file").out == "there\\n"
        """,
    )
    run(pytester, "before.py", passed=1)
    run(pytester, "after.py", "--armprobe-kernel", "mine.snapshot", passed=1)


def test_guest_and_era(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from armprobe.machine.loaders import DEMO

        @pytest.mark.armprobe(era="v4.8", memory="32M")
        class TestMarked:
            def test_demo(self, demo, kprobes):
                assert (kprobes, kprobes.era.name) == (demo.kprobes, "v4.8")
                assert demo.machine.guest.memory == 32 << 20

            @pytest.mark.armprobe(era="v5.4")
            def test_nearest(self, kprobes):
                assert kprobes.era.name == "v5.4"

            @pytest.mark.armprobe(guest=DEMO)
            def test_file(self, guest_session, kprobes):
                assert guest_session.kprobes is kprobes
                assert guest_session.name == str(DEMO)

        @pytest.mark.parametrize("demo", ["v4.8", "v6.9"], indirect=True)
        def test_parameter(demo, kprobes, request):
            assert kprobes.era.name in request.node.name
        """
    )
    run(pytester, passed=5)


def test_gdb_is_attached_to_the_guest_of_the_test(pytester: pytest.Pytester, gdb_path: str) -> None:
    pytester.makepyfile(
        """
        def test_gdb(demo, gdb_session):
            gdb_session.execute("break kfree")
            assert gdb_session.continue_to_stop().function == "kfree"
            assert demo.machine.registers.pc == demo.machine.symbols["kfree"].address

        def test_gdb_alone(gdb_session):
            assert gdb_session.register("pc") == 0x4008_0000
        """
    )
    run(pytester, passed=2)


def test_what_cannot_be_had_is_one_sentence(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.armprobe(era="v9")
        def test_era(demo): ...

        @pytest.mark.armprobe(guest="absent.elf")
        def test_file(guest_session): ...

        @pytest.mark.armprobe(era="v6.1", colour="red")
        def test_option(demo): ...

        @pytest.mark.armprobe("linux")
        def test_position(demo): ...

        def test_two(demo, guest_session, kprobes): ...

        def test_kernel(linux): ...
        """
    )
    output = run(pytester, "--armprobe-kernel=absent", "--armprobe-initrd=absent", errors=6)
    assert "Traceback" not in output
    assert "During handling" not in output
    for expected in (
        "absent.elf",
        "the marker armprobe has no option colour for the guest demo",
        "the marker armprobe takes arguments by name only",
        "the test uses demo and guest_session: kprobes would be that of one only",
    ):
        assert expected in output


def test_coverage(pytester: pytest.Pytester) -> None:
    """Of two tests on two workers, in a file that lcov reads. The line is that of guests/demo/kernel/slab.c."""
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("calls", [2, 3])
        def test_calls(calls, demo):
            demo.machine.run(until="workload_round")
            demo.run("snapshot here")
            for _ in range(calls):
                demo.machine.call("ksize", 0)
        """
    )
    output = run(pytester, "--armprobe-cov=k*e", "--armprobe-cov=nothing_*", "--armprobe-cov-file=x.lcov", passed=2)
    lines = (pytester.path / "x.lcov").read_text().splitlines()
    source = ROOT / "guests/demo/kernel/slab.c"
    declared = next(number for number, line in enumerate(source.read_text().splitlines(), 1) if "size_t ksize(" in line)
    assert [line for line in lines if line.startswith("SF:") and line.endswith("kernel/slab.c")]
    assert f"FN:{declared},ksize" in lines
    assert "FNDA:5,ksize" in lines
    assert "FNDA:0,kfree" in lines
    # The lines of ksize's body are executed in each call, those of kfree in none.
    text = source.read_text().splitlines()
    counts = {int(at): int(n) for at, n in re.findall(r"^DA:(\d+),(\d+)$", "\n".join(lines), re.MULTILINE)}
    for name, times in (("ksize", 5), ("kfree", 0)):
        begin = next(number for number, line in enumerate(text, 1) if re.search(rf"\w {name}\(|\*{name}\(", line))
        end = next(number for number, line in enumerate(text, 1) if number > begin and line == "}")
        assert {counts[number] for number in range(begin + 1, end) if number in counts} == {times}
    assert f"of {sum(line.startswith('FN:') for line in lines)} functions of guests were called" in output


def test_fixtures_of_the_same_names_come_first(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "import pytest\n"
        + "".join(
            f"@pytest.fixture\ndef {name}():\n    return '{name}'\n"
            for name in ("demo", "linux", "guest_session", "kprobes", "gdb_session")
        )
    )
    pytester.makepyfile(
        """
        import sys

        def test_own(demo, linux, guest_session, kprobes, gdb_session):
            assert (demo, linux, kprobes) == ("demo", "linux", "kprobes")

        def test_no_room_is_imported():
            modules = {name for name in sys.modules if name.startswith("armprobe.")}
            rooms = {name.split(".")[1] for name in modules - {"armprobe.machine", "armprobe.machine.lazy_names"}}
            assert rooms == {"clients"}
            assert "armprobe.clients.gdb_session" not in sys.modules
        """
    )
    run(pytester, passed=2)


@pytest.mark.usefixtures("snapshot")
def test_the_examples(pytester: pytest.Pytester) -> None:
    """In a folder of somebody else's."""
    shutil.copytree(ROOT / "examples", pytester.path / "examples")
    run(pytester, "examples", passed=14)


def test_every_fixture_is_documented() -> None:
    text = (ROOT / "docs/testing.md").read_text()
    plugin = (ROOT / "clients/pytest_plugin.py").read_text()
    fixtures = re.findall(r"^@pytest\.fixture\ndef (\w+)", plugin, re.MULTILINE)
    options = re.findall(r'"(--armprobe-[\w-]+)"', plugin)
    assert fixtures
    assert options
    assert [name for name in (*fixtures, *options) if f"`{name}" not in text] == []
