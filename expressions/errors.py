# SPDX-License-Identifier: GPL-2.0-or-later
"""The errors of this room: for texts and bytecode that are wrong."""


class ExpressionError(Exception):
    """A text that is not an expression or a note of this language.

    The message is one sentence that says where the text is wrong and why. `column`, 0 to len(text), is the offset of
    that place in `text`.
    """

    def __init__(self, message: str, text: str, column: int) -> None:
        super().__init__(printable(message))
        self.text = text
        self.column = column


class Unexpected(ExpressionError):
    """Something behind the end of an expression."""


def printable(text: str) -> str:
    """`text` with escapes for its line ends and control characters."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class AgentError(Exception):
    """An agent expression that is malformed, or cannot be evaluated at this moment; the message says why."""


def wrong(text: str, at: int, what: str) -> ExpressionError:
    """The error for a `text` that is wrong at offset `at`, or at the first character after it that is not a space."""
    rest = text[at:].strip()
    column = len(text.rstrip()) if not rest else at + len(text[at:]) - len(text[at:].lstrip())
    where = f"at '{rest[:30]}'" if rest else "at its end"
    return ExpressionError(f"the expression {text.strip()} is wrong {where}: {what}", text, column)
