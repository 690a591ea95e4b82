# SPDX-License-Identifier: GPL-2.0-or-later
"""The parser: makes the tree of an expression from its text, by precedence climbing.

Operators and their precedence are C's (ISO C, 6.5). Parsers of C read whole declarations and do not know registers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from .errors import ExpressionError, Unexpected, wrong
from .tree import (
    AddressOf,
    Binary,
    Cast,
    ContainerOf,
    Member,
    Name,
    Node,
    Number,
    PerCpu,
    Print,
    SizeOf,
    String,
    Subscript,
    TypeName,
    Unary,
)
from .types import QUALIFIERS, TAGS, TYPE_WORDS

_LONGEST: Final = 1000  # characters
_DEEPEST: Final = 30  # levels of parentheses and prefix operators
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>[0-9]\w*)|(?P<char>'(?:[^'\\]|\\.)')|(?P<string>\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<name>\$?[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?)"
    r"|(?P<operator>->|&&|\|\||<<|>>|[<>=!]=|[-+*/%&|^~!<>()\[\],.])|(?P<unknown>\S))"
)
_NUMBER: Final = re.compile(r"(?P<digits>0[xX][0-9a-fA-F]+|[0-9]+)(?P<suffix>u|ul?l?|l?lu|ll?|)", re.IGNORECASE)
_ESCAPES: Final = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, "'": 39, '"': 34}
_PRECEDENCE: Final = {
    operator: level
    for level, operators in enumerate(
        ("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"), start=1
    )
    for operator in operators.split()
}
_PER_CPU: Final = frozenset(("per_cpu", "per_cpu_ptr", "this_cpu_read", "this_cpu_ptr"))  # linux/percpu-defs.h
_MEMBER: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")

IsType = Callable[[str], bool]
"""Whether a name is that of a type, a typedef, of the guest."""


def parse_expression(text: str, is_type: IsType) -> Node:
    """The tree of `text`. Raises ExpressionError."""
    return _Parser(text, "the expression", is_type).whole()


def parse_print(text: str, is_type: IsType) -> Print:
    """The tree of `"FORMAT", EXPRESSION, ...`. Raises ExpressionError."""
    return _Parser(text, "the text after print", is_type).print()


def next_expression(text: str) -> int | None:
    """The offset of the first comma outside parentheses, behind which another expression begins; None without one."""
    depth = 0
    for token in _tokens(text):
        if token.kind == "operator":
            depth += (token.text in "([") - (token.text in ")]")
            if token.text == "," and not depth:
                return token.at
    return None


class _Token(NamedTuple):
    kind: str
    """The name of the group in `_TOKEN` that matched, or "end"."""
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        yield _Token(kind, match[kind], match.start(kind))
    yield _Token("end", "", len(text))


class _Parser:
    def __init__(self, text: str, what: str, is_type: IsType) -> None:
        if len(text) > _LONGEST:
            raise ExpressionError(f"{what} has {len(text)} characters: at most {_LONGEST} are allowed", text, _LONGEST)
        self._text = text
        self._is_type = is_type
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def whole(self) -> Node:
        """The whole text as one expression."""
        node = self._expression()
        if self._token.kind != "end":
            raise self._unexpected("an operator was expected")
        return node

    def _unexpected(self, otherwise: str) -> ExpressionError:
        """The error for the next token, which cannot be where it is."""
        before, why = self._tokens[self._next - 1], otherwise
        if self._token.text == "(" and before.text == "str":
            why = "str(POINTER) is a key by itself; print and conditions take the pointer"
        elif self._token.text == "(" and before.kind == "name":
            why = f"there is no function {before.text}() in expressions"
        elif self._token.text == ",":
            why = "this is one expression, and a comma begins another"
        elif self._text.startswith("=", self._token.at):
            why = "write == to compare"
        error = self._wrong(why)
        return Unexpected(str(error), error.text, error.column)

    def print(self) -> Print:
        """The whole text as a format and values, with a comma before each value."""
        form = self._token
        if form.kind != "string":
            example = 'print "%s %d", *(char **)x1, w0'
            raise ExpressionError(f"print begins with a format in quotes, as in {example}", self._text, form.at)
        self._next += 1
        values = []
        while self._take(","):
            values.append(self._expression())
        if self._token.kind != "end":
            raise self._unexpected("a comma or an operator was expected")
        return Print(form.at, form.text[1:-1], tuple(values))

    # Tokens

    @property
    def _token(self) -> _Token:
        """The next token."""
        return self._tokens[self._next]

    def _wrong(self, what: str) -> ExpressionError:
        return wrong(self._text, self._token.at, what)

    def _take(self, *operators: str) -> str:
        """Take the next token if it is one of `operators`; an empty string if it is not."""
        token = self._token
        if token.kind != "operator" or token.text not in operators:
            return ""
        self._next += 1
        return token.text

    def _need(self, operator: str) -> None:
        if not self._take(operator):
            raise self._wrong(f"'{operator}' was expected")

    # Grammar

    def _expression(self, least: int = 1) -> Node:
        """An expression of operators whose precedence is at least `least`."""
        left = self._unary()
        while self._token.kind == "operator" and (level := _PRECEDENCE.get(self._token.text, 0)) >= least:
            token = self._token
            self._next += 1
            left = Binary(token.at, token.text, left, self._expression(level + 1))
        return left

    def _unary(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(f"it is nested deeper than {_DEEPEST}")
        at = self._token.at
        operator = self._take("-", "+", "~", "!", "*", "&", "(")
        node: Node
        if operator == "&":
            node = AddressOf(at, self._unary())
        elif operator == "(" and self._begins_type():
            kind = self._type()
            self._need(")")
            node = Cast(at, kind, self._unary())
        elif operator == "(":
            inner = self._expression()
            self._need(")")
            node = self._postfixed(inner)
        elif operator:
            node = Unary(at, operator, self._unary())
        elif self._token.text == "sizeof":
            self._next += 1
            node = self._size(at)
        else:
            node = self._postfixed(self._primary())
        self._depth -= 1
        return node

    def _begins_type(self) -> bool:
        """Whether the tokens behind a parenthesis are the name of a type. That of a typedef is a name like others."""
        if self._token.text in TYPE_WORDS:
            return True
        if self._token.kind != "name" or not self._token.text.isidentifier():
            return False
        end = self._next + 1
        while self._tokens[end].text == "*":
            end += 1
        if self._tokens[end].text != ")":
            return False
        if end > self._next + 1:  # "(name *)" is nothing else
            return True
        following = self._tokens[end + 1]
        operand = following.kind in ("name", "number", "char") or following.text in ("(", "~", "!", "-", "+", "*", "&")
        return operand and self._is_type(self._token.text)

    def _type(self) -> TypeName:
        at = self._token.at
        words: list[str] = []
        stars = 0
        while self._token.kind == "name" and (self._token.text in TYPE_WORDS or not words or words[-1] in TAGS):
            words.append(self._token.text)
            self._next += 1
        while self._take("*"):
            stars += 1
            while self._token.text in QUALIFIERS:
                self._next += 1
        return TypeName(at, tuple(words), stars)

    def _size(self, at: int) -> Node:
        """What follows `sizeof`."""
        start = self._next
        if self._take("(") and (self._begins_type() or self._is_lone_type()):
            kind = self._type()
            self._need(")")
            return SizeOf(at, kind)
        self._next = start
        return SizeOf(at, self._unary())

    def _is_lone_type(self) -> bool:
        ends = self._tokens[self._next + 1].text == ")"
        return self._token.kind == "name" and ends and self._is_type(self._token.text)

    def _container(self, at: int) -> Node:
        """What follows `container_of`."""
        self._need("(")
        pointer = self._expression()
        self._need(",")
        kind = self._type()
        self._need(",")
        member = self._member()
        self._need(")")
        return ContainerOf(at, pointer, kind, member)

    def _per_cpu(self, name: _Token) -> Node:
        """What follows one of `_PER_CPU`."""
        self._need("(")
        operand, cpu = self._expression(), None
        if name.text.startswith("per_cpu"):
            self._need(",")
            cpu = self._expression()
        self._need(")")
        return PerCpu(name.at, operand, cpu, name.text.endswith("_ptr"))

    def _member(self) -> str:
        token = self._token
        if token.kind != "name" or not _MEMBER.fullmatch(token.text):
            raise self._wrong("the name of a member was expected")
        self._next += 1
        return token.text

    def _postfixed(self, node: Node) -> Node:
        """`node` with the subscripts and members behind it."""
        while True:
            at = self._token.at
            if self._take("["):
                index = self._expression()
                self._need("]")
                node = Subscript(at, node, index)
            elif self._take(".", "->"):
                at = self._token.at
                node = Member(at, node, self._member())
            else:
                return node

    def _primary(self) -> Node:
        token = self._token
        node: Node
        if token.kind == "number":
            node = self._number(token)
        elif token.kind == "char":
            node = self._char(token)
        elif token.kind == "string":
            node = String(token.at, re.sub(r"\\(.)", r"\1", token.text[1:-1]))
        elif token.text == "container_of":
            self._next += 1
            return self._container(token.at)
        elif token.text in _PER_CPU and self._tokens[self._next + 1].text == "(":
            self._next += 1
            return self._per_cpu(token)
        elif token.kind == "name":
            node = Name(token.at, token.text)
        else:
            raise self._wrong("a value was expected")
        self._next += 1
        return node

    def _number(self, token: _Token) -> Number:
        found = _NUMBER.fullmatch(token.text)
        if found is None:
            raise self._wrong("this is not a number")
        digits = found["digits"]
        octal = digits[0] == "0" and digits.isdigit() and len(digits) > 1
        if octal and not re.fullmatch("[0-7]+", digits):
            raise self._wrong("a number that begins with 0 is octal: its digits are 0 to 7")
        value = int(digits, 8 if octal else 0)
        if value >> 64:
            raise self._wrong("the number has more than 64 bits")
        return Number(token.at, value, digits[0] != "0", found["suffix"].lower())

    def _char(self, token: _Token) -> Number:
        what = token.text[1:-1]
        code = _ESCAPES.get(what[1]) if what[0] == "\\" else ord(what)
        if code is None or code > 127:
            raise self._wrong("this is neither an ASCII character nor a known escape")
        return Number(token.at, code)
