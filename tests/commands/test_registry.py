# SPDX-License-Identifier: GPL-2.0-or-later
"""A declaration gives parsing, help, completion and the table for gdb."""

import contextlib
import json
import shlex
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armprobe.commands.declaration import Arg, Arguments, Command, Option, integer
from armprobe.commands.errors import CommandError
from armprobe.commands.parsing import split, split_for_completion
from armprobe.commands.registry import Registry
from armprobe.commands.render.text import as_text
from tests.commands.toy import COMMANDS, ToySession

LINES = st.text("ab '\"\\=,\t#x0kfreprobstop", max_size=40)


def nothing(session: Any, arguments: Arguments) -> None:
    pass


def run(line: str) -> str:
    said: list[str] = []
    ToySession().execute(line, said.append)
    return "".join(said)


def complaint(line: str) -> str:
    with pytest.raises(CommandError) as caught:
        run(line)
    return str(caught.value)


def parsed(command: Command, line: str) -> Arguments:
    """What the handler is given for a line."""
    given: list[Arguments] = []
    registry = Registry([replace(command, run=lambda session, arguments: given.append(arguments))])
    registry.run(None, line, lambda value: None)
    return given[0]


@given(LINES)
def test_words_are_those_of_shlex(line: str) -> None:
    try:
        expected = shlex.split(line)
    except ValueError:
        with pytest.raises(CommandError):
            split(line)
    else:
        words = split(line)
        assert [word.text for word in words] == expected
        for index, word in enumerate(words):  # each start is where a line of the remaining words starts
            assert shlex.split(line[word.start :]) == expected[index:]
            assert not line[word.start].isspace()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("probe kfree", "symbol=kfree count=1 stop=() max_active=None\n"),
        ("probe kfree 0x10", "symbol=kfree count=16 stop=() max_active=None\n"),
        ("probe stop=post,pre kfree max-active=-3", "symbol=kfree count=1 stop=('post', 'pre') max_active=-3\n"),
        ("  p 'kfree'  ", "symbol=kfree count=1 stop=() max_active=None\n"),
        ("echo  stop=x 'a  b'  \"c\" ", "stop=x 'a  b'  \"c\""),
        ("enable", "enabled ()\n"),
        ("enable a 'b c' d=e", "enabled ('a', 'b c', 'd=e')\n"),
        ("ena", "enabled ()\n"),
        ("", ""),
        ("   ", ""),
        ("# probe nothing 'x", ""),
    ],
)
def test_run(line: str, expected: str) -> None:
    assert run(line) == expected


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        ("prob", ["'prob'", "probe or probes"]),
        ("prove", ["'prove'", "did you mean probe", "?"]),
        ("zzz", ["'zzz'", "help"]),
        ("probe", ["probe needs SYMBOL (the function)", "usage: probe SYMBOL [COUNT] [stop=pre|post,...]"]),
        ("probe stop=pre", ["probe needs SYMBOL"]),
        ("probe kfree 1 2", ["'2'", "usage: probe"]),
        ("probe kfree 1 stpo=pre", ["no option stpo=: did you mean stop=?"]),
        ("probe kfree many", ["'many' is not a number", "0x"]),
        ("probe kfree 010", ["'010' is not a number"]),
        ("probe kfree stop=in", ["stop=", "'in'", "pre, post"]),
        ("probe kfree stop=pre,", ["stop=", "''", "pre, post"]),
        ("probe kfree stop=", ["stop= needs a value", "where to stop"]),
        ("probe kfree stop=pre stop=pre", ["stop=", "twice"]),
        ("probe nothing", ["there is no function nothing"]),
        ("probes x", ["'x'", "usage: probes"]),
        ("echo", ["echo needs TEXT"]),
        ("probe 'kfree", ["quote", "never closed"]),
        ("probe kfree\\", ["backslash"]),
    ],
)
def test_complaints_are_one_sentence(line: str, fragments: list[str]) -> None:
    message = complaint(line)
    assert [fragment for fragment in fragments if fragment not in message] == []
    assert "\n" not in message


def test_an_exact_name_beats_longer_ones_and_an_alias_counts() -> None:
    assert run("probe kfree").startswith("symbol=kfree")
    assert run("p kfree").startswith("symbol=kfree")


def test_names_of_one_command_are_not_ambiguous() -> None:
    registry = Registry([Command("probe", "", (), nothing, aliases=("probing",))])
    assert registry.find("prob").name == "probe"


def test_hyphens_become_underscores_and_defaults_are_given() -> None:
    command = Command(
        "c",
        "",
        (Arg("a-b", "", optional=True, default=7), Option("c-d", "", type=integer), Option("e", "", many=True)),
        nothing,
    )
    assert parsed(command, "c") == Arguments(a_b=7, c_d=None, e=())
    assert parsed(command, "c 1 c-d=0xff e=x,y") == Arguments(a_b="1", c_d=255, e=("x", "y"))


def test_choices_of_a_positional_argument() -> None:
    command = Command("c", "", (Arg("how", "how", choices=("up", "down")),), nothing)
    assert command.usage == "c up|down"
    assert parsed(command, "c up").how == "up"
    with pytest.raises(CommandError, match="choose from up, down"):
        parsed(command, "c u")


def test_a_converter_is_given_the_session() -> None:
    command = Command("c", "", (Arg("x", "", type=lambda session, word: (session, word)),), nothing)
    assert parsed(command, "c w").x == (None, "w")


@pytest.mark.parametrize(
    "args",
    [
        (Arg("a", "", optional=True), Arg("b", "")),
        (Arg("a", "", many=True), Arg("b", "", optional=True)),
        (Arg("a", "", rest=True), Arg("b", "")),
        (Arg("a", ""), Option("a", "")),
    ],
)
def test_declarations_that_cannot_be_parsed_are_refused(args: tuple[Arg | Option, ...]) -> None:
    with pytest.raises(ValueError, match="command c"):
        Command("c", "", args, nothing)


def test_two_commands_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two commands are called x"):
        Registry([Command("x", "", (), nothing), Command("y", "", (), nothing, aliases=("x",))])
    with pytest.raises(ValueError, match="help"):
        Registry([Command("help", "", (), nothing)])


def test_help_of_a_command_has_all_of_its_declaration() -> None:
    said = run("help probe")
    (command,) = (command for command in COMMANDS if command.name == "probe")
    for text in (command.usage, command.summary, command.details, *(arg.help for arg in command.args), "p\n"):
        assert text in said
    assert run("? probe") == run("help p") == said


def test_help_lists_every_command_under_its_group() -> None:
    said = run("help").splitlines()
    listed = [line.split()[0] for line in said if line.startswith("  ")]
    assert sorted(listed) == sorted([*(command.name for command in COMMANDS), "help"])
    assert said.index("Probes") < min(said.index(line) for line in said if line.split()[0] == "probes")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pr", ["probe", "probes"]),
        ("p", ["p", "probe", "probes"]),
        ("zz", []),
        ("zz x", []),
        ("probe kf", ["kfree", "kfree+0x10"]),
        ("probe do_sys_open ", ["max-active=", "stop="]),
        ("probe kfree 1 s", ["stop="]),
        ("probe kfree stop=", ["stop=post", "stop=pre"]),
        ("probe kfree stop=pre,", ["stop=pre,post"]),
        ("probe kfree stop=pre ", ["max-active="]),
        ("probe stop=pre kfre", ["kfree", "kfree+0x10"]),
        ("p 'kf", ["kfree", "kfree+0x10"]),
        ("help ti", ["tick"]),
        ("enable x y ", []),
    ],
)
def test_completion(line: str, expected: list[str]) -> None:
    assert ToySession().complete(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("probe dso", ["do_sys_open", "do_sys_open+0x10"]),
        ("probe FREE", ["kfree", "kfree+0x10"]),
        ("tk", ["tick"]),
        ("probe eerf", []),
        ("probe ", []),
        ("probe kfree mac", ["max-active="]),
    ],
)
def test_candidates_like_a_word(line: str, expected: list[str]) -> None:
    """Its letters in their order."""
    assert ToySession().complete_like(line) == expected


def test_candidates_are_described() -> None:
    registry = ToySession().registry
    assert registry.described("pro", "probes") == "List the probes."
    assert registry.described("probe kfree s", "stop=") == "where to stop"
    assert registry.described("probe kf", "kfree") == ""
    assert registry.described("'", "x") == ""


def test_an_empty_line_completes_to_the_names_without_aliases() -> None:
    assert ToySession().complete("") == sorted([*(command.name for command in COMMANDS), "help"])


def test_candidates_are_quoted_where_they_must_be() -> None:
    words = ["a b", "it's", "$x*%y", "back\\slash"]
    registry = Registry([Command("c", "", (Arg("x", "", complete=lambda session, word: words),), nothing)])
    candidates = registry.complete(None, "c ")
    assert "$x*%y" in candidates
    assert sorted(split(f"c {each}")[1].text for each in candidates) == sorted(words)


def test_a_completer_that_fails_completes_nothing() -> None:
    registry = Registry([Command("c", "", (Arg("x", "", complete=lambda session, word: session.missing),), nothing)])
    assert registry.complete(None, "c ") == []


@given(LINES)
def test_a_candidate_continues_the_word_it_stands_for(line: str) -> None:
    *before, last = split_for_completion(line)
    for candidate in ToySession().complete(line):
        words = split(line[: last.start] + candidate)
        assert [word.text for word in words[:-1]] == [word.text for word in before]
        assert words[-1].text.startswith(last.text)


@given(LINES)
def test_no_line_gets_anything_but_an_answer_or_a_complaint(line: str) -> None:
    session = ToySession(tuple(c for c in COMMANDS if c.name not in ("wait", "defect")))
    with contextlib.suppress(CommandError):
        session.execute(line, lambda text: None)


def test_the_table_for_gdb() -> None:
    table = {entry["name"]: entry for entry in json.loads(ToySession().registry.table())}
    names = {name: (entry["gdb"], entry["gdb_name"]) for name, entry in table.items()}
    assert names["probe"] == (True, "probe")
    assert names["enable"] == (False, "probe-enable")
    assert names["defect"] == names["help"] == (False, "")
    assert table["load-x0"]["changes_state"] is True
    assert table["probe"]["changes_state"] is False
    assert table["tick"]["repeat"] is True
    assert table["probe"]["summary"] == "Put a probe on a function."
    assert table["probe"]["usage"].startswith("probe SYMBOL")


def test_a_name_of_two_words() -> None:
    """The first word is a command of its own, which may be shortened."""
    given: list[tuple[str, object]] = []

    def command(name: str, *args: Arg) -> Command:
        return Command(name, f"Do {name}.", args, lambda session, arguments: given.append((name, vars(arguments))))

    count = Arg("count", "number", type=integer, optional=True)
    file = Arg("file", "file", complete=lambda session, word: ("a.txt", "b.txt"))
    registry = Registry((command("trace", count), command("trace save", file), command("other")))
    for line in "trace", "tr 3", "trace save x", "tr save x", "trace  save  x":
        registry.run(None, line, lambda value: None)
    saved = ("trace save", {"file": "x"})
    assert given == [("trace", {"count": None}), ("trace", {"count": 3}), saved, saved, saved]
    with pytest.raises(CommandError, match="trace save needs FILE"):
        registry.run(None, "trace save", lambda value: None)
    with pytest.raises(CommandError, match="'sav' is not a number"):
        registry.run(None, "trace sav", lambda value: None)
    assert registry.complete(None, "tr") == ["trace"]
    assert registry.complete(None, "tr ") == ["save"]
    assert registry.complete(None, "trace save ") == ["a.txt", "b.txt"]
    assert registry.complete(None, "trace 3 ") == []
    for line in "help trace save", "help tr save":
        shown: list[object] = []
        registry.run(None, line, shown.append)
        assert "Usage: trace save FILE" in as_text(shown[0])
