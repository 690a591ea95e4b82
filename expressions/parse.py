# SPDX-License-Identifier: GPL-2.0-or-later
"""The parser: makes the tree of an expression from its text, by precedence climbing.

Operators and their precedence are C's (ISO C, 6.5). Parsers of C read whole declarations and do not know registers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from .errors import ExpressionError, wrong
from .tree import AddressOf, Binary, Cast, Name, Node, Number, Print, String, Subscript, Unary
from .types import TYPE_WORDS

_LONGEST: Final = 1000  # characters
_DEEPEST: Final = 30  # levels of parentheses and prefix operators
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>[0-9]\w*)|(?P<char>'(?:[^'\\]|\\.)')|(?P<string>\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<name>\$?[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?)"
    r"|(?P<operator>&&|\|\||<<|>>|[<>=!]=|[-+*/%&|^~!<>()\[\],])|(?P<unknown>\S))"
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


def parse_expression(text: str) -> Node:
    """The tree of `text`. Raises ExpressionError."""
    return _Parser(text, "the condition").whole()


def parse_print(text: str) -> Print:
    """The tree of `"FORMAT", EXPRESSION, ...`. Raises ExpressionError."""
    return _Parser(text, "the text after print").print()


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
    def __init__(self, text: str, what: str) -> None:
        if len(text) > _LONGEST:
            raise ExpressionError(f"{what} has {len(text)} characters: at most {_LONGEST} are allowed", text, _LONGEST)
        self._text = text
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def whole(self) -> Node:
        """The whole text as one expression."""
        node = self._expression()
        if self._token.kind != "end":
            assigns = self._text.startswith("=", self._token.at)
            raise self._wrong("write == to compare" if assigns else "an operator was expected")
        return node

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
            raise self._wrong("a comma or an operator was expected")
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
            node = self._address(at)
        elif operator == "(" and self._token.text in TYPE_WORDS:
            node = self._cast()
        elif operator == "(":
            inner = self._expression()
            self._need(")")
            node = self._subscripted(inner)
        elif operator:
            node = Unary(at, operator, self._unary())
        else:
            node = self._subscripted(self._primary())
        self._depth -= 1
        return node

    def _cast(self) -> Cast:
        at = self._token.at
        words, stars = [], 0
        while self._token.text in TYPE_WORDS:
            words.append(self._token.text)
            self._next += 1
        while self._take("*"):
            stars += 1
        self._need(")")
        return Cast(at, tuple(words), stars, self._unary())

    def _address(self, at: int) -> AddressOf:
        """`&symbol`, which has the same value as `symbol`."""
        token = self._token
        if token.kind != "name" or token.text.startswith("$"):
            raise self._wrong("a symbol was expected after '&'")
        self._next += 1
        return AddressOf(at, token.text)

    def _subscripted(self, node: Node) -> Node:
        at = self._token.at
        while self._take("["):
            index = self._expression()
            self._need("]")
            node = Subscript(at, node, index)
            at = self._token.at
        return node

    def _primary(self) -> Node:
        token = self._token
        node: Node
        if token.kind == "number":
            node = self._number(token)
        elif token.kind == "char":
            node = self._char(token)
        elif token.kind == "name":
            node = Name(token.at, token.text)
        elif token.kind == "string":
            node = String(token.at, re.sub(r"\\(.)", r"\1", token.text[1:-1]))
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
