# SPDX-License-Identifier: GPL-2.0-or-later
"""The conditions that are typed at the prompt: C's expressions of integers, compiled to agent expressions.

Operators, their precedence, promotions and conversions are C's (ISO C, 6.3.1 and 6.5), with the types of an arm64
kernel: LP64, and a plain char without a sign (AAPCS64). Arithmetic wraps, as the kernel is compiled
(-fno-strict-overflow). Values are kept as 64 bits, sign- or zero-extended from their type. Parsers of C want whole
declarations, and none knows registers; expressions alone take little.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from .evaluate import assemble, width
from .format import Format, FormatError

_LONGEST: Final = 1000  # characters
_DEEPEST: Final = 30  # parentheses and operators before a value, one in the other
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>0[xX][0-9a-fA-F]+|[0-9]+)(?P<suffix>\w*)|(?P<char>'(?:[^'\\]|\\.)')|(?P<name>\$?[A-Za-z_][\w.]*(?::[A-Za-z_][\w.]*)?)"
    r"|(?P<operator>&&|\|\||<<|>>|[<>=!]=|[-+*/%&|^~!<>()\[\],]))"
)
_STRING: Final = re.compile(r'\s*"((?:[^"\\]|\\.)*)"')
_ESCAPES: Final = {"n": 10, "t": 9, "r": 13, "0": 0, "\\": 92, "'": 39, '"': 34}


class ExpressionError(Exception):
    """The text is not an expression; the message is one sentence that says where and why."""


class Type(NamedTuple):
    """An integer of `bits`, or a pointer to `target`."""

    bits: int
    signed: bool
    target: Type | None = None

    @property
    def bytes(self) -> int:
        """Its size."""
        return self.bits // 8


S32, U32, S64, U64 = Type(32, True), Type(32, False), Type(64, True), Type(64, False)
_VOID: Final = Type(8, False, U64)  # takes one byte, as in GNU C; no other type is like it

_TYPES: Final = {
    **{f"{sign}{bits}": Type(bits, sign == "s") for sign in "su" for bits in (8, 16, 32, 64)},
    **{f"{sign}int{bits}_t": Type(bits, not sign) for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "char": Type(8, False),
    "signed char": Type(8, True),
    "unsigned char": Type(8, False),
    "short": Type(16, True),
    "unsigned short": Type(16, False),
    "int": S32,
    "unsigned": U32,
    "unsigned int": U32,
    "long": S64,
    "unsigned long": U64,
    "long long": S64,
    "unsigned long long": U64,
    "size_t": U64,
    "ssize_t": S64,
    "void": _VOID,
}
_TYPE_WORDS: Final = {word for name in _TYPES for word in name.split()}

_PRECEDENCE: Final = {
    operator: level
    for level, operators in enumerate(
        ("||", "&&", "|", "^", "&", "== !=", "< <= > >=", "<< >>", "+ -", "* / %"), start=1
    )
    for operator in operators.split()
}
# Operation for signed and for unsigned operands.
_ARITHMETIC: Final = {
    "+": ("add", "add"),
    "-": ("sub", "sub"),
    "*": ("mul", "mul"),
    "/": ("div_signed", "div_unsigned"),
    "%": ("rem_signed", "rem_unsigned"),
    "&": ("bit_and", "bit_and"),
    "|": ("bit_or", "bit_or"),
    "^": ("bit_xor", "bit_xor"),
}
_COMPARISONS: Final = {  # whether the operands change places, and whether the result is negated
    "<": (False, False),
    ">": (True, False),
    ">=": (False, True),
    "<=": (True, True),
}


class _Label:
    """Where a jump goes."""


_Code = list[tuple[str, "int | _Label"]]


class _Value(NamedTuple):
    type: Type
    code: _Code


class Names(NamedTuple):
    """What names mean. All of them raise ExpressionError, or whatever says more, for those that they do not know."""

    register: Callable[[str], int]
    """The number of a register, by gdb's name for it."""
    address: Callable[[str], int]
    """The address of a symbol."""
    returned: bool
    """Whether `retval` is known: at the return of a function."""


def compile_expression(text: str, names: Names) -> bytes:
    """The agent expression for `text`. Raises ExpressionError, and what the functions of `names` raise."""
    if len(text) > _LONGEST:
        raise ExpressionError(f"the condition has {len(text)} characters: {_LONGEST} are the most")
    return _assembled(_Parser(text, names).whole().code)


def compile_print(text: str, names: Names) -> tuple[Format, list[bytes]]:
    """Of `"FORMAT", EXPRESSION, ...` the format and the agent expression for each of its values.

    Raises ExpressionError, and what the functions of `names` raise.
    """
    if len(text) > _LONGEST:
        raise ExpressionError(f"what is to be printed has {len(text)} characters: {_LONGEST} are the most")
    string = _STRING.match(text)
    if string is None:
        raise ExpressionError('what is to be printed begins with its format, as in print "%s %d", *(char **)x1, w0')
    values = _Parser(text, names, string.end()).values()
    try:
        form = Format(string[1].encode("utf-8", "surrogateescape") + b"\0")
    except FormatError as error:
        raise ExpressionError(str(error)) from None
    if form.count != len(values):
        raise ExpressionError(f"the format {string[0].strip()} takes {form.count}, and the values are {len(values)}")
    return form, [_assembled(value.code) for value in values]


def _assembled(code: _Code) -> bytes:
    places: dict[object, int] = {}
    at = 0
    for name, operand in code:
        if name == "label":
            places[operand] = at
        else:
            at += width(name)
    operations = [
        (name, places[operand] if isinstance(operand, _Label) else operand) for name, operand in code if name != "label"
    ]
    return assemble([*operations, ("end", 0)])


class _Parser:
    """Compiles while it parses: by precedence climbing."""

    def __init__(self, text: str, names: Names, at: int = 0) -> None:
        self._text = text
        self._names = names
        self._at = at  # where the next token begins
        self._depth = 0

    def whole(self) -> _Value:
        value = self._expression(1)
        if self._text[self._at :].strip():
            assigns = self._text[self._at :].lstrip().startswith("=")
            raise self._wrong("write == to compare" if assigns else "an operator was expected")
        return value

    def values(self) -> list[_Value]:
        """A comma before each."""
        found = []
        while self._take(","):
            found.append(self._expression(1))
        if self._text[self._at :].strip():
            raise self._wrong("a comma or an operator was expected")
        return found

    # Tokens

    def _wrong(self, what: str) -> ExpressionError:
        rest = self._text[self._at :].strip()
        where = f"at '{rest[:30]}'" if rest else "at its end"
        return ExpressionError(f"the expression {self._text.strip()} is wrong {where}: {what}")

    def _peek(self) -> re.Match[str] | None:
        return _TOKEN.match(self._text, self._at)

    def _take(self, *operators: str) -> str:
        """The next token, if it is one of `operators`; otherwise empty."""
        found = self._peek()
        if found is None or found["operator"] not in operators:
            return ""
        self._at = found.end()
        return found["operator"]

    def _need(self, operator: str) -> None:
        if not self._take(operator):
            raise self._wrong(f"'{operator}' was expected")

    # Grammar

    def _expression(self, least: int) -> _Value:
        """Of operators that bind as tightly as `least` or tighter."""
        left = self._unary()
        while True:
            found = self._peek()
            operator = found["operator"] if found is not None else None
            level = _PRECEDENCE.get(operator or "", 0)
            if found is None or operator is None or level < least or not level:
                return left
            before, self._at = self._at, found.end()
            right = self._expression(level + 1)
            after, self._at = self._at, before  # where to point at
            left = self._binary(operator, left, right)
            self._at = after

    def _unary(self) -> _Value:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(f"it is nested deeper than {_DEEPEST}")
        try:
            start = self._at
            operator = self._take("-", "+", "~", "!", "*", "&", "(")
            if operator == "(":
                kind = self._type()
                if kind is not None:
                    self._need(")")
                    return self._converted(self._unary(), kind)
                value = self._expression(1)
                self._need(")")
                return self._subscripted(value)
            if operator == "&":
                return self._address()
            if not operator:
                return self._subscripted(self._primary())
            operand = self._unary()
            end, self._at = self._at, start
            value = self._dereferenced(operand) if operator == "*" else self._prefixed(operator, operand)
            self._at = end
            return value
        finally:
            self._depth -= 1

    def _type(self) -> Type | None:
        """A type's name with its stars, if that is what comes."""
        words = []
        while (found := self._peek()) is not None and found["name"] in _TYPE_WORDS:
            words.append(found["name"])
            self._at = found.end()
        if not words:
            return None
        kind = _TYPES.get(" ".join(words))
        if kind is None:
            raise self._wrong(f"'{' '.join(words)}' is not a type that is known here: write u8 to u64 or s8 to s64")
        while self._take("*"):
            kind = Type(64, False, kind)
        return kind

    def _primary(self) -> _Value:
        found = self._peek()
        if found is None or found["operator"]:
            raise self._wrong("a value was expected")
        value = (
            self._number(found)
            if found["number"]
            else self._char(found)
            if found["char"]
            else self._named(found["name"])
        )
        self._at = found.end()
        return value

    def _number(self, found: re.Match[str]) -> _Value:
        """ISO C, 6.4.4.1: the first of the types that it fits in."""
        digits, suffix = found["number"], found["suffix"].lower()
        if suffix not in ("", "u", "l", "ul", "lu", "ll", "ull", "llu"):
            raise self._wrong("this is not a number")
        octal = digits[0] == "0" and digits.isdigit() and len(digits) > 1
        if octal and not re.fullmatch("[0-7]+", digits):
            raise self._wrong("a number that begins with 0 is octal")
        number = int(digits, 8 if octal else 0)
        unsigned = "u" in suffix
        fits = [
            kind
            for kind in (S32, U32, S64, U64)
            if number < 1 << kind.bits - kind.signed
            and (kind.bits == 64 or "l" not in suffix)
            and not (unsigned and kind.signed)
            and (kind.signed or unsigned or kind is U64 or digits[0] == "0")
        ]
        if not fits:
            raise self._wrong("the number has more than 64 bits")
        return _constant(number, fits[0])

    def _char(self, found: re.Match[str]) -> _Value:
        what = found["char"][1:-1]
        code = _ESCAPES.get(what[1]) if what[0] == "\\" else ord(what)
        if code is None or code > 127:
            raise self._wrong("this is not a character of ASCII, or an escape that is known here")
        return _constant(code, S32)

    def _named(self, name: str) -> _Value:
        bare = name.removeprefix("$")
        if bare == "retval":
            if not self._names.returned:
                raise self._wrong("retval is known where a function returns: put a kretprobe on it")
            return _Value(S64, [("reg", 0)])
        if re.fullmatch(r"[xw](\d|[12]\d|30)", bare):
            register: _Code = [("reg", int(bare[1:]))]
            return _Value(S64, register) if bare[0] == "x" else _Value(S32, [*register, ("ext", 32)])
        if bare in ("sp", "pc"):
            return _Value(U64, [("reg", self._names.register(bare))])
        if bare in ("pstate", "cpsr"):
            return _Value(U64, [("reg", self._names.register("cpsr"))])
        if name.startswith("$"):
            return _Value(U64, [("reg", self._names.register(bare))])
        return _constant(self._names.address(name), U64)

    def _address(self) -> _Value:
        """`&symbol`, which is what `symbol` is."""
        found = self._peek()
        if found is None or not found["name"] or found["name"].startswith("$"):
            raise self._wrong("a symbol was expected after '&'")
        self._at = found.end()
        return _constant(self._names.address(found["name"]), U64)

    def _subscripted(self, value: _Value) -> _Value:
        start = self._at
        while self._take("["):
            index = self._expression(1)
            self._need("]")
            end, self._at = self._at, start
            value = self._dereferenced(self._sum("+", value, index))
            self._at = end
        return value

    # Semantics

    def _dereferenced(self, value: _Value) -> _Value:
        target = value.type.target
        if target is None or value.type is _VOID or target is _VOID:
            raise self._wrong("it does not say what there is in memory: write *(u64 *)x1, or another type")
        read: _Code = [(f"ref{target.bits}", 0)]
        return _Value(
            target, value.code + read + ([("ext", target.bits)] if target.signed and target.bits < 64 else [])
        )

    def _converted(self, value: _Value, kind: Type) -> _Value:
        if kind is _VOID:
            raise self._wrong("nothing can be converted to void")
        was = value.type
        fits = kind.bits == 64 or (was.bits < kind.bits if not was.signed else kind.signed and was.bits <= kind.bits)
        change: _Code = [] if fits or was == kind else [("ext" if kind.signed else "zero_ext", kind.bits)]
        return _Value(kind, value.code + change)

    def _prefixed(self, operator: str, value: _Value) -> _Value:
        if operator == "!":
            return _Value(S32, [*value.code, ("log_not", 0)])
        if value.type.target is not None:
            raise self._wrong(f"'{operator}' is not for pointers: convert it to u64 first")
        value = _promoted(value)
        match operator:
            case "-":
                return _wrapped(_Value(value.type, [("const8", 0), *value.code, ("sub", 0)]))
            case "~":
                return _wrapped(_Value(value.type, [*value.code, ("bit_not", 0)]))
        return value

    def _binary(self, operator: str, left: _Value, right: _Value) -> _Value:
        if operator in ("&&", "||"):
            return _either(left, right) if operator == "||" else _both(left, right)
        if left.type.target is not None or right.type.target is not None:
            if operator in ("+", "-"):
                return self._sum(operator, left, right)
            if _PRECEDENCE[operator] not in (_PRECEDENCE["=="], _PRECEDENCE["<"]):
                raise self._wrong(f"'{operator}' is not for pointers: convert them to u64 first")
        if operator in ("<<", ">>"):
            left, right = _promoted(left), _promoted(right)
            shift = "lsh" if operator == "<<" else "rsh_signed" if left.type.signed else "rsh_unsigned"
            return _wrapped(_Value(left.type, [*left.code, *right.code, (shift, 0)]))
        common = _common(left.type, right.type)
        operands = self._converted(left, common).code + self._converted(right, common).code
        if operator in ("==", "!="):
            return _Value(S32, [*operands, ("equal", 0), *_negation(operator == "!=")])
        if operator in _COMPARISONS:
            swapped, negated = _COMPARISONS[operator]
            less = "less_signed" if common.signed else "less_unsigned"
            swap: _Code = [("swap", 0)] if swapped else []
            return _Value(S32, [*operands, *swap, (less, 0), *_negation(negated)])
        return _wrapped(_Value(common, [*operands, (_ARITHMETIC[operator][not common.signed], 0)]))

    def _sum(self, operator: str, left: _Value, right: _Value) -> _Value:
        """Of a pointer and an integer, or the difference of pointers."""
        if left.type.target is None and operator == "+":
            left, right = right, left
        target = left.type.target
        if target is None:
            raise self._wrong("only a pointer can be subscripted or have a pointer subtracted from it")
        size: _Code = [("const8", target.bytes)]
        if right.type.target is None:
            operation = "add" if operator == "+" else "sub"
            return _Value(left.type, [*left.code, *right.code, *size, ("mul", 0), (operation, 0)])
        if operator == "+" or right.type != left.type:
            raise self._wrong("these pointers cannot be added or subtracted")
        return _Value(S64, [*left.code, *right.code, ("sub", 0), *size, ("div_signed", 0)])


def _constant(number: int, kind: Type) -> _Value:
    bits = next(bits for bits in (8, 16, 32, 64) if number < 1 << bits)
    return _Value(kind, [(f"const{bits}", number)])


def _negation(negated: bool) -> _Code:
    return [("log_not", 0)] if negated else []


def _promoted(value: _Value) -> _Value:
    """ISO C, 6.3.1.1: what is narrower than an int becomes one."""
    return _Value(S32, value.code) if value.type.bits < 32 else value


def _common(left: Type, right: Type) -> Type:
    """ISO C, 6.3.1.8, and for pointers that are compared."""
    if left.target is not None or right.target is not None:
        return U64
    kinds = [S32 if kind.bits < 32 else kind for kind in (left, right)]
    bits = max(kind.bits for kind in kinds)
    return Type(bits, all(kind.signed for kind in kinds if kind.bits == bits))


def _wrapped(value: _Value) -> _Value:
    if value.type.bits == 64:
        return value
    return _Value(value.type, [*value.code, ("ext" if value.type.signed else "zero_ext", value.type.bits)])


def _both(left: _Value, right: _Value) -> _Value:
    no, end = _Label(), _Label()
    code: _Code = [
        *left.code,
        ("log_not", 0),
        ("if_goto", no),
        *right.code,
        ("log_not", 0),
        ("log_not", 0),
        ("goto", end),
    ]
    return _Value(S32, [*code, ("label", no), ("const8", 0), ("label", end)])


def _either(left: _Value, right: _Value) -> _Value:
    yes, end = _Label(), _Label()
    code: _Code = [*left.code, ("if_goto", yes), *right.code, ("log_not", 0), ("log_not", 0), ("goto", end)]
    return _Value(S32, [*code, ("label", yes), ("const8", 1), ("label", end)])
