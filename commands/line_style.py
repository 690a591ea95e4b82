# SPDX-License-Identifier: GPL-2.0-or-later
"""The look of the line that is typed, of the status below it, and of errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer
from prompt_toolkit.styles import Style
from prompt_toolkit.utils import get_cwidth

from .declaration import Command
from .errors import CommandError
from .parsing import without_comment
from .registry import Registry
from .render.help import filled

STYLE: Final = Style.from_dict(
    {
        "command": "bold ansigreen",
        "unknown": "ansired",
        "option": "ansicyan",
        "keyword": "bold ansiblue",
        "string": "ansiyellow",
        "register": "ansimagenta",
        "number": "ansibrightblue",
        "comment": "ansibrightblack",
    }
)

_TOKEN: Final = re.compile(
    r"""(?P<string>'[^']*'?|"(?:\\.|[^"\\])*"?)|(?P<end>;)|(?P<space>\s+)"""
    r"""|(?P<register>\$\w+)|(?P<option>[a-z][\w-]*=)|(?P<number>(?<!\w)(?:0x[0-9a-fA-F]+|\d[\d.]*\w*))|(?P<word>[^\s;'"]+?(?=[\s;'"=]|$)|.)""",
    re.DOTALL,
)


class CommandLexer(Lexer):
    """Marks commands, options, keywords, texts, numbers and comments."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines = document.lines
        return lambda number: list(self._marked(lines[number]))

    def _marked(self, line: str) -> Iterator[tuple[str, str]]:
        code = without_comment(line)
        command: Command | None = None
        first = True
        for token in _TOKEN.finditer(code):
            kind, text = token.lastgroup or "", token[0]
            if first and kind not in ("space", "end"):
                first = False
                command = self._command(code[token.start() :])
                name = re.match(r"!|\S*?(?=[/;\s]|$)", code[token.start() :])
                kind = "unknown" if command is None else "command"
                if name is not None and len(name[0]) < len(text):
                    yield f"class:{kind}", name[0]
                    kind, text = "word", text[len(name[0]) :]
            elif kind == "end" and not (command and command.is_foreign(())):
                first = True
            elif kind == "option" and (command is None or text[:-1] not in command.options):
                kind = "word"
            elif kind == "word" and command is not None and text in command.clauses:
                kind = "keyword"
            yield f"class:{kind}", text
        if len(code) < len(line):
            yield "class:comment", line[len(code) :]

    def _command(self, rest: str) -> Command | None:
        name = re.match(r"!|[^\s;/]*", rest)
        try:
            return self._registry.find("shell" if name is None or name[0] == "!" else name[0])
        except CommandError:
            return None


def fitted(status: str, width: int) -> str:
    """A status of parts, which two blanks separate, in `width` columns: the longest parts lose their middles."""
    parts = status.split("  ")
    while (over := get_cwidth("  ".join(parts)) - width) > 0:
        index = max(range(len(parts)), key=lambda each: len(parts[each]))
        length = len(parts[index])
        if length < 8:
            return "  ".join(parts)[:width]
        keep = max(length - over - 3, 4)
        parts[index] = parts[index][: (keep + 1) // 2] + "..." + parts[index][length - keep // 2 :]
    return "  ".join(parts)


def wrapped(text: str, width: int) -> str:
    """`text` with its lines broken between words. Indented lines, such as an expression above a caret, stay."""
    lines = []
    for line in text.split("\n"):
        indented = line.startswith(" ") or not line
        lines += [line] if indented else filled(line, width)
    return "\n".join(lines)
