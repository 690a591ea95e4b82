# SPDX-License-Identifier: GPL-2.0-or-later
"""What this room raises for a text or a bytecode that its user can put right."""


class ExpressionError(Exception):
    """A text is not an expression or a note of this language.

    The message is one sentence that says where and why. `text` is what was read, and `column`, 0 to len(text), is the
    character in it that the sentence is about.
    """

    def __init__(self, message: str, text: str, column: int) -> None:
        super().__init__(printable(message))
        self.text = text
        self.column = column


def printable(text: str) -> str:
    """`text` on one line, with escapes for characters that are not to be printed."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class AgentError(Exception):
    """An agent expression is malformed, or has no value here and now; the text says why."""


def wrong(text: str, at: int, what: str) -> ExpressionError:
    """The error for `text`, which is wrong at offset `at` or at the first character after it that is not a space."""
    rest = text[at:].strip()
    column = len(text.rstrip()) if not rest else at + len(text[at:]) - len(text[at:].lstrip())
    where = f"at '{rest[:30]}'" if rest else "at its end"
    return ExpressionError(f"the expression {text.strip()} is wrong {where}: {what}", text, column)
