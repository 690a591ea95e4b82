# SPDX-License-Identifier: GPL-2.0-or-later
"""What gdb does at a stop, by the user's script: it belongs to the stop, and raises in a `GdbSession` if it fails."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from armprobe.commands import GdbError, GdbSession

pytestmark = pytest.mark.sample(of="files")


@pytest.fixture
def scripted(gdb: GdbSession, tmp_path: Path) -> Callable[[str], None]:
    """scripted(text): gdb sources that text."""

    def source(text: str) -> None:
        script = tmp_path / "script"
        script.write_text(text)
        gdb.execute(f"source {script}")

    return source


NO_SYMBOL = 'No symbol "nosuch" in current context.\n'


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("break *kfree\ncommands\nset $n = 1\nprint nosuch\nset $n = 2\nend", NO_SYMBOL),
        ("break *kfree\ncommands\nsilent\nset $n = 1\nprint nosuch\nend", NO_SYMBOL),
        ("tbreak *kfree\ncommands\nset $n = 1\nprint nosuch\nend", NO_SYMBOL),
        ("hbreak *kfree\ncommands\nset $n = 1\nnosuch\nend", 'Undefined command: "nosuch".  Try "help".\n'),
        ("break *kfree\ncommands\nset $n = 1\nx/i 0\nend", "Cannot access memory at address 0x0\n"),
        ("kprobe kfree stop=pre\nbreak *kfree\ncommands\nset $n = 1\nkprobe nosuch\nend", "no symbol 'nosuch'"),
        ("break *kfree\ncommands\nset $n = 1\npython raise gdb.GdbError('mine')\nend", "GdbError: mine\n"),
        ("set $n = 1\nbreak *kfree\ndefine hook-stop\nprint nosuch\nend", NO_SYMBOL),
        ("set $n = 1\nbreak *kfree\npython gdb.events.stop.connect(lambda event: nosuch)", "'nosuch' is not defined"),
        ("set $n = 1\npython\nclass Here(gdb.Breakpoint):\n def stop(self): nosuch\nHere('*kfree')\nend", "'nosuch'"),
    ],
)
@pytest.mark.sample
def test_what_fails_at_a_stop_raises(
    gdb: GdbSession, scripted: Callable[[str], None], script: str, message: str
) -> None:
    scripted(script)
    with pytest.raises(GdbError, match=re.escape(message)):
        gdb.continue_to_stop()
    assert gdb.evaluate("$n") == "1"
    assert gdb.execute("echo and goes on") == "and goes on"
    with pytest.raises(GdbError, match="not running"):
        gdb.interrupt()


def test_commands_of_a_breakpoint_that_do_not_fail(gdb: GdbSession, scripted: Callable[[str], None]) -> None:
    """What they print belongs to the stop."""
    scripted("break *kfree\ncommands\nprint 6 * 7\npython gdb.write('warning: mine\\n', gdb.STDERR)\nend")
    assert gdb.continue_to_stop().console.endswith("$1 = 42\n")
    assert gdb.execute("echo next") == "next"
    assert gdb.execute("continue").endswith("$2 = 42\n")


def test_commands_of_a_breakpoint_that_resume(gdb: GdbSession, scripted: Callable[[str], None]) -> None:
    scripted("set $n = 0\nbreak *strlen\ncommands\nsilent\nset $n = $n + 1\nif $n < 5\ncontinue\nend\nend")
    stop = gdb.continue_to_stop()
    assert (stop.pc, stop.function) == (gdb.register("pc"), "strlen")  # of a stop that gdb does not describe
    assert gdb.evaluate("$n") == "5"
    scripted("delete\ntbreak *kfree\ncommands\nstepi\nend")
    assert gdb.continue_to_stop().reason == "end-stepping-range"


def test_a_condition_that_fails(gdb: GdbSession) -> None:
    """gdb stops. The machine may have found that it holds: gdb 13 fails to evaluate one that sets a tvariable."""
    gdb.execute("break *kfree if *(int *) 0 == 1")
    stop = gdb.continue_to_stop()
    assert stop.function == "kfree"
    assert stop.complaints == "Error in testing breakpoint condition:\nCannot access memory at address 0x0\n"
