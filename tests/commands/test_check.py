# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands decode and check, and as verbs of the command line."""

from __future__ import annotations

import json
import shlex
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.cli import main
from armprobe.probes import ERAS

DEMO = Path(__file__).parents[2] / "guests/demo/demo.elf"
NOP, RETAA, LDR_Q, B = 0xD503201F, 0xD65F0BFF, 0x9C000000, 0x14000000


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with Session("demo") as session:
        yield session


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("decode 0xd503201f", ["0xd503201f  nop", "v6.1   GOOD          executed in a slot"]),
        ("decode 0x14000000 era=v4.8", ["0x14000000  b #0", "v4.8   GOOD_NO_SLOT  simulated (simulate_b_bl)"]),
        ("decode 0xd50323bf era=v5.4,v5.10", ["autiasp", "v5.4   GOOD ", "v5.10  REJECTED      of the hints"]),
        ("decode 0x9c000000", ["ldr q0, #0", "warning: the kernel executes this SIMD literal load in the slot"]),
        ("decode 0xd65f0bff era=all", [f"{era:<6} " for era in ERAS]),
        ("decode 0x19000400 era=v6.9", ["warning: a memory copy or set instruction (MOPS)"]),
        ("decode 0x19000400 era=6.12.110", ["v6.12.107 REJECTED", "(MOPS)"]),
    ],
)
def test_words(session: Session, line: str, shown: list[str]) -> None:
    text = session.run(line)
    for each in shown:
        assert each in text


def test_function(session: Session) -> None:
    rows = session.run("decode insn_ldxr").splitlines()
    words = ["c85f7c01", "91000422", "c8037c02", "35ffffa3", "aa0103e0", "d65f03c0"]
    assert [row.split()[1] for row in rows[1:-1]] == words
    assert "ldxr x1, [x0]" in rows[1]
    assert "REFUSED    an instruction behind a load exclusive" in rows[2]
    assert "simulated  simulate_cbz_cbnz" in rows[4]
    assert rows[5].endswith("slot")
    assert rows[-1] == "6 instructions: 1 executed in a slot, 2 simulated, 3 refused"


def test_function_that_has_a_probe(session: Session) -> None:
    before = session.run("decode kfree")
    session.run("kprobe kfree")
    assert session.run("decode kfree") == before
    session.run("unregister kfree")


def test_place(session: Session) -> None:
    lines = session.run("decode kfree+0x10").splitlines()
    assert len(lines) == 2
    assert "bl #" in lines[1]


def test_raw_instructions(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "code.bin"
    file.write_bytes(struct.pack("<5I", NOP, B, RETAA, LDR_Q, 0))
    lines = session.run(f"decode {file} era=v6.1,v5.4").splitlines()
    assert lines[0] == f"{file} in v6.1: 4 instructions: 2 executed in a slot, 1 simulated, 1 refused"
    assert lines[1].split() == ["simulate_b_bl", "1"]
    assert lines[2].startswith("1 refused: it authenticates a pointer and branches")
    assert lines[3].split() == ["code.bin+0x8", "d65f0bff", "retaa"]
    assert lines[4].startswith("1 accepted, but the kernel executes this SIMD literal load in the slot")
    assert lines[5].split() == ["code.bin+0xc", "9c000000", "ldr", "q0,", "#0xc"]
    assert lines[6] == f"{file} in v5.4: 4 instructions: 3 executed in a slot, 1 simulated, 0 refused"
    assert lines[8].startswith("1 accepted, but this kernel knows no pointer authentication")


def test_elf_object(session: Session, tool: Callable[[str, str], str], tmp_path: Path) -> None:
    """Data among the instructions, which is marked, is not decoded."""
    source, program = tmp_path / "a.S", tmp_path / "a.o"
    source.write_text(
        ".type f, %function\nf: nop\n retaa\n ret\n.size f, .-f\n .word 0xd65f0bff\n"
        ".type g, %function\ng: svc #0\n ret\n.size g, .-g\n"
    )
    compiler = tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")
    subprocess.run([compiler, "-march=armv8.3-a", "-c", "-o", str(program), str(source)], check=True)
    lines = session.run(f"decode {program}").splitlines()
    assert lines[0].endswith("5 instructions: 1 executed in a slot, 2 simulated, 2 refused")
    assert [line.split()[0] for line in lines if "+0x" in line] == ["f+0x4", "g+0x0"]


def test_demo_kernel_as_a_file(session: Session) -> None:
    text = session.run(f"decode {DEMO} era=v4.8")
    assert "insn_yield+0x0" in text
    assert "of the hints the kernel refuses YIELD" in text


def test_check(session: Session) -> None:
    assert session.run("check kfree") == f"v6.1   {'kfree':<32} accepted: executed in a slot\n"
    assert session.run("check kfree+0x10 era=all").splitlines() == [
        f"{era:<6} {'kfree+0x10':<32} accepted: simulated (simulate_b_bl)" for era in ERAS
    ]


def test_check_of_several(session: Session) -> None:
    printed: list[str] = []
    with pytest.raises(CommandError, match=r"^2 would be refused$"):
        session.execute("check kfree insn_yield gic_handle_irq era=v6.9", printed.append)
    lines = "".join(printed).splitlines()
    assert "EINVAL: the instruction at insn_yield" in lines[1]
    assert "EINVAL: gic_handle_irq is on the kernel's blacklist (irqentry_text)" in lines[2]
    assert lines[3] == "v6.9   1 of 3 would be accepted"


def test_check_of_a_pattern(session: Session) -> None:
    printed: list[str] = []
    with pytest.raises(CommandError, match="would be refused"):
        session.execute("check insn_*", printed.append)
    lines = "".join(printed).splitlines()
    assert lines[-1] == "v6.1   2 of 7 would be accepted"
    assert {line.split()[1] for line in lines[:-1]} == set(session.complete("check insn_"))
    assert session.run("check kfre[e]").split()[1] == "kfree"


def test_check_of_many_counts_the_refused(session: Session) -> None:
    printed: list[str] = []
    with pytest.raises(CommandError) as failed:
        session.execute("check *", printed.append)
    *rules, total = "".join(printed).splitlines()
    counts = [int(rule.split()[1].replace(",", "")) for rule in rules]
    assert counts == sorted(counts, reverse=True)
    assert str(failed.value) == f"{sum(counts):,} would be refused"
    accepted, among = (int(total.split()[at].replace(",", "")) for at in (1, 3))
    assert accepted + sum(counts) == among
    assert any("refused: EINVAL, on the kernel's blacklist: " in rule and rule.endswith(", ...") for rule in rules)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("decode kfre", "did you mean kfree"),
        ("decode 0x1ffffffff", "has more than 32 bits"),
        ("decode 0xzz", "is not a number"),
        ("decode d503201f", "the instruction is 0xd503201f"),
        ("decode jiffies", "jiffies is data"),
        ("decode kfree+2x", "is not a number"),
        ("decode /", "cannot read /: it is a folder"),
        ("decode 0xd503201f era=v3", "there is no era 'v3': choose one of v4.8"),
        ("check nosuch*", "no function matches"),
        ("check 0xzz", "is not an address"),
        ("check", "needs PLACES"),
    ],
)
def test_mistakes(session: Session, line: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as error:
        session.run(line)
    assert "\n" not in str(error.value)


def test_words_are_taken_as_they_are(session: Session, tmp_path: Path) -> None:
    file = tmp_path / 'it\'s \\ "code" # 1'
    file.write_bytes(struct.pack("<I", NOP))
    shown = session.run(["decode", str(file), "era=v6.1"])
    assert shown == f"{file} in v6.1: 1 instructions: 1 executed in a slot, 0 simulated, 0 refused\n"
    (answer,) = session.ask(["decode", str(file)])
    assert answer.file == str(file)
    assert session.run([]) == ""
    with pytest.raises(CommandError, match="there is no command 'decode x'"):
        session.run(["decode x"])


def test_words_of_a_clause(session: Session) -> None:
    session.run(["kprobe", "kfree", "stop=pre", "if", "$x0 == 0", "print", '"%d", $x0'])
    (probe,) = session.ask("probes")
    assert (probe.condition, probe.note) == ("$x0 == 0", '"%d", $x0')
    session.run(["unregister", "kfree"])


def test_files_that_are_none(session: Session, tmp_path: Path) -> None:
    for content, reason in (
        (b"abc", "neither an ELF file nor instructions"),
        (b"", "neither an ELF file nor instructions"),
        (b"\x7fELF damaged", "is cut short: an ELF header takes 64 bytes, and it has 12"),
        (Path("/bin/true").read_bytes(), "is for x86-64: armprobe runs AArch64"),
    ):
        file = tmp_path / "file"
        file.write_bytes(content)
        with pytest.raises(CommandError, match=reason):
            session.run(f"decode {file}")


def test_completion(session: Session) -> None:
    assert "kfree" in session.complete("check kf")
    assert session.complete("check kfree era=v5") == ["era=v5.10", "era=v5.4"]


@pytest.mark.parametrize(
    ("words", "status", "shown"),
    [
        (["decode", "0xd503201f", "--era", "v4.8"], 0, "v4.8   GOOD"),
        (["check", "kfree", "--era", "v6.9"], 0, "accepted: executed in a slot"),
        (["check", "kfree", "insn_yield"], 1, "1 of 2 would be accepted"),
        (["check", "kfree", "--era", "all", "--guest", str(DEMO)], 0, "v5.10"),
        (["check", "kfree", "--era", "v1"], 1, ""),
    ],
)
def test_as_verbs(capsys: pytest.CaptureFixture[str], words: list[str], status: int, shown: str) -> None:
    assert main(words) == status
    assert shown in capsys.readouterr().out


def test_as_verb_on_a_file_whose_name_has_blanks_and_quotes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "it's \\ code"
    file.write_bytes(struct.pack("<I", NOP))
    assert main(["decode", str(file), "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert shlex.split(line["command"]) == ["decode", str(file)]
    assert line["value"][0]["file"] == str(file)
