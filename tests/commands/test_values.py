# SPDX-License-Identifier: GPL-2.0-or-later
"""What each command answers, its text and its JSON."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Union

import pytest

from armprobe.commands import CommandError, Session
from armprobe.commands.catalog import registry
from armprobe.commands.cli import main
from armprobe.commands.json_reference import answers, element, json_reference
from armprobe.commands.render.json import as_json_line
from armprobe.commands.render.text import as_text
from armprobe.commands.values import Answers, PrintedLine, Probes
from armprobe.stub import serve
from armprobe.stub.visible import visible
from tests.commands.test_authority import monitor, proxied  # tests have no import name to go by
from tests.stub.client import Client

LINES = (
    "help",
    "help kprobe",
    "probes",
    "info",
    "info mem",
    "symbols $pc",
    "examine 0x40080000 40",
    "continue until=workload_round",
    "info",
    "info registers",
    "info system",
    "info mem",
    "kprobe kmem_cache_free+4",
    'kprobe strlen stop=pre,post if x0 != 0 print "%s", x0',
    "kretprobe kmalloc",
    "kprobe *_round",
    "kprobe insn_y*",
    "kprobe spin_lock+8",
    "jprobe slab_round",
    "count kfree by caller",
    "count kfree by x0 & 0xff00 if x0 != 0",
    "hist kmalloc linear=0,600,100 x0 by caller if x0 > 100",
    "latency kmalloc",
    "stacks kmalloc",
    "argdist -C kmalloc x0",
    "stacks kmalloc folded=yes instructions=2000",
    "funccount k*",
    "funcgraph slab_round depth=2",
    "top functions=3 instructions=2000",
    "count kfree by stack instructions=2000",
    "counts",
    "counts kmem_cache_free+4",
    "event p:ev strlen s=+0(%x0):string a=$arg1",
    "event r:out kmalloc $retval",
    "event -:out",
    "event p:ev strlen s=+0(%x0",
    "events enable ev",
    "events",
    "events format ev",
    "events disable",
    "events save FOLDER/events.txt",
    "events clear",
    "probe -D kmalloc:6",
    "probe -L kmalloc",
    "probe -V kmalloc",
    "probe kmalloc size",
    "events load FOLDER/events.txt",
    "blacklist *irq*",
    "tracepoints sched:*",
    "continue",
    "info kprobes",
    "backtrace",
    "tasks",
    "task 1",
    "crashes",
    "dmesg",
    "modules",
    "files 1",
    "maps 1",
    "slabs",
    "irqs",
    "timers",
    "syscalls",
    "threads cpu",
    "threads tasks",
    "mounts",
    "push FOLDER/code",
    "pull code FOLDER/pulled",
    "sh true",
    "pt-regs",
    "print x0",
    "continue",
    "x /4gx $sp",
    "x /s $sp",
    "x /3i $pc",
    "x /4gx 8",
    "print /x $x0",
    "ptype /o struct workload",
    "whatis workload",
    "set $x9 = 5",
    "next",
    "step-line",
    "list",
    "info line",
    "info line kfree",
    "info args",
    "context",
    "context code,stack",
    "context off",
    "nexti",
    "until",
    "until kmalloc",
    "finish",
    "break kmalloc if size > 100",
    "tbreak kfree+4",
    "watch workload",
    "rwatch workload 4",
    "awatch workload+8 4",
    "continue",
    "disable 1000",
    "info breakpoints",
    "delete 1000",
    "delete",
    "delete",
    "info breakpoints",
    "regs strlen",
    "regs kmalloc stage=return",
    "regs nosuch",
    "trace 3",
    "trace follow",
    "trace follow off",
    "trace size",
    "trace save FOLDER/hits.csv",
    "trace > FOLDER/hits.txt",
    "query SELECT probe, avg(x0), max(comm) FROM hits GROUP BY 1 ORDER BY 1",
    "query SELECT nosuch",
    "step",
    "step 3",
    "counts",
    "counts kfree clear=yes",
    "disable strlen",
    "enable *",
    "probes top=2",
    "event p:asked kfree addr=%x0",
    "events filter asked addr != 0",
    "events trigger asked hist:keys=addr",
    "events hist asked",
    "events tracing",
    "events trigger asked !hist:keys=addr",
    "event -:asked",
    "unregister all",
    "trace 0",
    "continue instructions=100000",
    "symbols kmalloc",
    "symbols 0xffff800000084cc4",
    "symbols nosuch",
    "symbols *alloc*",
    "symbols nosuch*",
    "echo two words",
    "shell echo here",
    "help oops",
    "source FOLDER/lines",
    "source FOLDER/nosuch",
    "examine $sp 100",
    "disassemble kfree 20",
    "disassemble",
    "call strlen $sp",
    "console",
    "console hello",
    "semihosting",
    "semihosting files=none",
    "decode 0xd503201f era=all",
    "decode kfree",
    "decode kfree+0x10 era=v4.8,v6.9",
    "decode FOLDER/code",
    "check kfree insn_yield",
    "check * era=v6.1,v5.10",
    "snapshots",
    "snapshot here",
    "snapshot here",
    "snapshots",
    "step",
    "restore here",
    "snapshots delete=here",
    "restore here",
    "when",
    "mark",
    "mark here",
    "mark",
    "step",
    "reverse-stepi",
    "goto here",
    "branches",
    "set $x9 = 1",
    "branches",
    "goto main",
    "branches name=first",
    "branches delete=branch-1",
    "goto branch-1",
    "goto nosuch:5",
    "goto first:5x",
    "goto -1ms",
    "print $_position",
    "diff boot end",
    "diff boot nosuch",
    "reverse-nexti",
    "reverse-finish",
    "reverse-next",
    "reverse-step",
    "reverse-step 0",
    "reverse-continue until $_position == 5000",
    "reverse-continue until $nosuch",
    "goto nosuch",
    "last-write $sp",
    "last-write $sp 8",
    "last-write $x19",
    "last-write kfree",
    "first-write $sp",
    "calls strlen",
    "calls strlen most=2 if $x0 > 1",
    "first-call kfree",
    "first-call panic",
    "goto end",
    "reverse-continue",
    "save FOLDER/saved",
    "vmcore FOLDER/vmcore",
    "disk",
    "save FOLDER/code",
    "load FOLDER/code",
    "reset",
    "run instructions=1000",
    "nosuch",
    "probes 'x",
    "quit",
)
"""Every command, in an order in which it has something to say; two fail with something found."""

# Those of them that leave all as it is, so that they can be asked for a second time.
LOOKS = ("help", "help kprobe", "probes", "info", "info mem", "info system", "symbols kmalloc", "disassemble kfree 20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    (folder / "code").write_bytes(bytes.fromhex("1f2003d5c0035fd6") * 60 + bytes.fromhex("3f2003d5") * 60)
    (folder / "lines").write_text("echo one\nprobes\n")
    return folder


@pytest.fixture(scope="module")
def answered(folder: Path) -> list[tuple[str, str, object, str]]:
    """Of each line what it prints, and what it answers and complains of when it is asked, of two equal guests."""
    found = []
    with Session("demo", memory="16M") as prompt, Session("demo", memory="16M") as program:
        for line in LINES:
            line = line.replace("FOLDER", str(folder))
            printed: list[str] = []
            _, complaint = outcome(partial(prompt.execute, out=printed.append), line)
            (folder / "saved").unlink(missing_ok=True)
            value, same = outcome(program.ask, line)
            (folder / "saved").unlink(missing_ok=True)
            assert same == complaint
            found.append((line, "".join(printed), value, complaint))
    return found


def outcome(run: Callable[[str], object], line: str) -> tuple[object, str]:
    """The value, and what went wrong."""
    try:
        return run(line), ""
    except CommandError as error:
        return error.value, str(error)


def test_every_command_is_asked() -> None:
    assert {name for line in LINES for name in (line.split()[0], " ".join(line.split()[:2]))} >= set(registry().names)


@pytest.mark.parametrize("number", range(len(LINES)), ids=lambda number: LINES[number])
def test_a_value_and_its_renderings(number: int, answered: list[tuple[str, str, object, str]]) -> None:
    line, printed, value, complaint = answered[number]
    if line == "console hello":  # the demo kernel has no shell
        *printed_lines, remark = printed.splitlines(keepends=True)
        assert remark.startswith("the guest has not printed a prompt yet: ")
        printed = "".join(printed_lines)
    assert printed.endswith(as_text(value))  # what comes before is remarks
    remarks = printed.removesuffix(as_text(value)).splitlines()
    assert all(each.startswith(("warning: ", "note: ")) for each in remarks)
    said = as_json_line(line, value, complaint)
    assert said.isascii()
    assert said.removesuffix("\n").isprintable()
    parsed = json.loads(said)
    assert parsed["command"] == line
    assert parsed["ok"] is not bool(complaint)
    assert parsed.get("error", "") == complaint
    if value is None:
        assert parsed.get("value") is None
        return
    declared = answers(registry().named(line.split())[0])
    assert type(value) in declared
    assert rebuilt(type(value), parsed["value"]) == value


def rebuilt(hint: Any, data: Any) -> Any:
    """What the JSON was made of, by the declared types; each number that people read in hexadecimal is there twice."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        if data is None:
            assert len(kinds) < len(typing.get_args(hint))
            return None
        if isinstance(data, list):
            (kind,) = [kind for kind in kinds if issubclass(typing.get_origin(kind) or kind, tuple)]
            return rebuilt(kind, data)
        if not isinstance(data, dict):
            assert type(data) in kinds
            return data
        (hint,) = [kind for kind in kinds if len(kinds) == 1 or {field.name for field in fields(kind)} <= data.keys()]
    if is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint, include_extras=True)
        doubled = {name for name, kind in hints.items() if "'hex'" in repr(kind)}
        assert data.keys() == {*hints, *(f"{name}_hex" for name in doubled)}
        for name in doubled:
            numbers, words = (each if isinstance(each, list) else [each] for each in (data[name], data[f"{name}_hex"]))
            assert [None if word is None else int(word, 16) for word in words] == numbers
        return hint(**{name: rebuilt(kind, data[name]) for name, kind in typing.get_type_hints(hint).items()})
    if hint is Answers:
        return Answers([PrintedLine("one"), Probes()])  # of lines whose answers are of any kind
    if isinstance(hint, type) and issubclass(hint, tuple):
        return hint(rebuilt(element(hint), each) for each in data)
    if typing.get_origin(hint) is tuple:
        return tuple(rebuilt(typing.get_args(hint)[0], each) for each in data)
    if hint is bytes:
        return bytes.fromhex(data)
    if typing.get_origin(hint) is typing.Literal:
        assert data in typing.get_args(hint)
    else:
        assert type(data) is hint
    return data


def test_the_reference_describes_every_value() -> None:
    """docs/json.md is what ``make docs`` makes of the declarations."""
    documented = Path(__file__).parents[2].joinpath("docs/json.md").read_text()
    assert documented == json_reference(registry())
    for command in registry().everything:
        assert f"\n| `{command.name}` | " in documented


@pytest.fixture(scope="module")
def stopped() -> Iterator[Session]:
    with Session("demo") as session:
        session.run("continue until=workload_round")
        yield session


@pytest.mark.parametrize("line", LOOKS)
def test_gdb_is_told_the_same(stopped: Session, line: str) -> None:
    with serve(stopped, "127.0.0.1:0") as server, Client(server.address) as debugger:
        printed = visible(stopped.run(line))
        assert monitor(debugger, line) == printed
        assert proxied(debugger, line) == (True, printed)


def test_as_json_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A line for each command, whatever happens; all else goes to standard error."""
    script = tmp_path / "script"
    script.write_bytes(b"\xef\xbb\xbfprobes  \n\n# comment\nkprobe kfree\nsymbols \x7f\nprobes 9\ninfo 'x\n")
    assert main(["script", "--keep-going", "--json", str(script)]) == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["command"] for line in lines] == ["probes", "kprobe kfree", "symbols \x7f", "probes 9", "info 'x"]
    assert lines[0] == {"command": "probes", "ok": True, "value": []}
    assert lines[3]["error"] == f"{script}:6: there is no probe '9': probes lists them by number and name"
    assert "\x7f" not in said.out
    assert said.err == ""


def test_json_of_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "kfree", "insn_yield"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert [place["accepted"] for place in json.loads(line)["value"][0]["places"]] == [True, False]
    assert main(["--json"]) == 1
    assert "--json is for commands that are given" in capsys.readouterr().err
    assert main(["script", "--json", "x.py"]) == 1
    assert "a program has values by Session.ask" in capsys.readouterr().err
