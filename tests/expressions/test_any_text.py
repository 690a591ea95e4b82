# SPDX-License-Identifier: GPL-2.0-or-later
"""Any text is a condition or a note, or is refused in one sentence with the column that it is about."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from armprobe.expressions import AgentError, Condition, ExpressionError, Note
from tests.expressions.test_language import NAMES, Here

HERE = Here([1, 2, 3, 4], 0x1000)
SYNTAX = [
    *("x0", "w1", "x4", "$x2", "$v0", "sp", "retval", "jiffies", "ext4:ext4_sync_fs", "nosuch"),
    *("0", "1", "07", "08", "0x1f", "12ab", "1ul", "18446744073709551616", "'a'", "'\\n'", "'\\q'", "'\u00e9'"),
    *("(u8 *)", "(u32)", "(char **)", "(void *)", "(long char)", "int", "(", ")", "[", "]", "*", "&", "-", "~", "!"),
    *("+", "/", "%", "<<", ">>", "<", "<=", "==", "!=", "=", "&&", "||", "|", "^", ",", "?", ".", "->", "@", "\\"),
    *('"%d"', '"%s %5.3x"', '"\\q"', '"', "%", " ", "\t", "\n", "\0", "\udcff", "\ud800"),
]
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.lists(st.sampled_from(SYNTAX), max_size=30).map("".join),
    st.lists(st.sampled_from(SYNTAX), max_size=30).map(" ".join),
)
NOTES = st.one_of(
    TEXTS, st.tuples(st.text('%dsxc5.-lq\\" \ud800\udcff', max_size=12), TEXTS).map('"{0[0]}", {0[1]}'.format)
)


def assert_one_sentence(error: ExpressionError, text: str) -> None:
    assert error.text == text
    assert 0 <= error.column <= len(text)
    assert str(error)
    assert str(error).isprintable()


@example("x0 <\n< 1")
@example("\ud800")
@given(TEXTS)
def test_condition(text: str) -> None:
    try:
        condition = Condition.compile(text, NAMES)
    except ExpressionError as error:
        assert_one_sentence(error, text)
        return
    with contextlib.suppress(AgentError):
        condition.holds(HERE)


@example('"\ud800"')
@example('"%d\n", 1 ?')
@example('"%d\n"')
@given(NOTES)
def test_note(text: str) -> None:
    try:
        note = Note.compile(text, NAMES)
    except ExpressionError as error:
        assert_one_sentence(error, text)
        return
    assert note.line(HERE).isprintable()


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("x0 < < 3", 5),
        ("  x0 @ 2", 5),
        ("x0 <  ", 4),
        ("1 + (u8 *)x0 * 2", 13),
        ("x0 == *x1", 6),
        ("x0 + nosuch", 5),
        ("x0 && $v0", 6),
        ("x0 + x1[1]", 7),
        ("x0 | (long char)x1", 6),
        ("x0 == retval", 6),
        ("x0+" * 400, 1000),
    ],
)
def test_where_a_condition_is_wrong(text: str, column: int) -> None:
    with pytest.raises(ExpressionError) as error:
        Condition.compile(text, NAMES)
    assert error.value.column == column


@pytest.mark.parametrize(
    ("text", "column"),
    [("x0", 0), (' "%d"', 1), (' "%q", 1', 1), ('"%d", 1 ? 2', 8), ('"%d", nosuch', 6), ('"%d" x0', 5)],
)
def test_where_a_note_is_wrong(text: str, column: int) -> None:
    with pytest.raises(ExpressionError) as error:
        Note.compile(text, NAMES)
    assert error.value.column == column


@pytest.mark.parametrize(
    "text",
    [
        "x0" + "+x0" * 332,
        "x0" + "&&x0" * 249,
        "((u8*)x0+x0)-(u8*)x0" + "+x1" * 320,
        "!" * 29 + "x0",
        "(" * 29 + "x0" + ")" * 29,
        "x0+(" * 29 + "x0" + ")" * 29,
    ],
)
def test_as_long_and_as_deep_as_may_be(text: str) -> None:
    assert len(text) <= 1000
    condition = Condition.compile(text, NAMES)
    assert condition.holds(HERE) in (True, False)


def test_subscripts_as_many_as_may_be() -> None:
    with pytest.raises(ExpressionError, match="only a pointer"):
        Condition.compile("x0" + "[0]" * 332, NAMES)
    stars = Condition.compile(f"((u64 {'*' * 200})x4){'[0]' * 190}", NAMES)
    with pytest.raises(AgentError, match="no such memory"):
        stars.holds(HERE)
