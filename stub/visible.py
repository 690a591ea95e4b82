# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes text of guests, files and clients harmless for a terminal."""

from typing import Final

# C0 and C1 (ECMA-48, 5.2 and 5.3) and DEL, but for tab and line feed; and halves of surrogate pairs, which stand for
# the bytes of a file's name that are not UTF-8 and cannot be written.
_SHOWN: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160), *range(0xD800, 0xE000)], "?")


def visible(text: str) -> str:
    """The text with "?" in place of each control character but tab and line feed; CR LF becomes LF.

    Every path by which text reaches a terminal ends here: the prompt and the command line (`commands.terminal`), and
    the stub's console output, replies of commands and error sentences, which debuggers show as they come.
    """
    return text.replace("\r\n", "\n").translate(_SHOWN)
