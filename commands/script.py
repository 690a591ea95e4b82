# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the lines of -c, of a script or of a pipe, and writes their answers: as text, or as a line of JSON each."""

import signal
import sys
from collections.abc import Iterable

from .parsing import Line, as_text, is_blank
from .render.errors import error_text
from .render.json import as_json_line
from .render.styled import Styles
from .runner import Interactive, Runner
from .scripting import exit_status
from .terminal import OutputClosed, complain, say, say_styled


def run_lines(
    session: Interactive, lines: Iterable[Line], json: bool = False, *, file: str = "", keep_going: bool = True
) -> int:
    """Run each of the lines, to the first that fails or, with `keep_going`, to the last; 0 if all succeeded, else 1, or
    the exit status of the program, here or in the guest, that was the first to fail.

    Answers go to standard output, errors and notices to standard error. With `json` standard output has one
    line for each command and nothing else, the errors among them; remarks go to standard error too. Errors begin with
    the name of `file` and the number of the line, if it has a name.
    """
    session.on_notice(complain)
    runner, failed = Runner(session), 0
    try:
        for number, line in enumerate(lines, 1):
            if number == 1 and isinstance(line, str):
                line = line.removeprefix("\ufeff")
            place = f"{file}:{number}: " if file else ""
            status = (_run_as_json if json else _run_as_text)(runner, line, place)
            failed = failed or status
            if session.finished or (failed and not keep_going):
                break
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except OutputClosed as closed:
        if str(closed):
            complain(f"error: {closed}")
        return 1
    return failed


def _run_as_text(runner: Runner, line: Line, place: str) -> int:
    styles = Styles(sys.stdout)
    show = lambda value: say_styled(styles.value(value))  # noqa: E731
    value, error = runner.run(line, show, lambda text: say_styled(styles.text(text)))
    if error is not None:
        complain(f"error: {place}{error_text(error)}")
        return 1
    status = exit_status(value)
    if status and place:
        complain(f"error: {place}the program has ended with exit status {status}")
    return status


def _run_as_json(runner: Runner, line: Line, place: str) -> int:
    if is_blank(line):
        return 0
    value, error = runner.run(line, lambda value: None, complain)
    say(as_json_line(as_text(line), value, "" if error is None else f"{place}{error}"))
    return exit_status(value) if error is None else 1
