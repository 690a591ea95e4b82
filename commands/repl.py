# SPDX-License-Identifier: GPL-2.0-or-later
"""The REPL: prompts for lines at a terminal, with history, completion and the session's status below the line."""

import contextlib
import contextvars
import os
import queue
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.output import Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.utils import is_dumb_terminal

from armprobe.machine import MachineError, host_files

from .completer import SessionCompleter, tab_binding
from .errors import CommandError
from .line_style import STYLE, CommandLexer, fitted, wrapped
from .parsing import split
from .registry import Registry, Show
from .render.errors import error_text
from .render.styled import Styles
from .runner import Interactive, Outcome, Runner
from .terminal import Lines, say_styled

PROMPT = "armprobe> "
_LONGEST_HISTORY = 16 << 20  # bytes
BANNER = "help lists the commands, Tab completes, Ctrl-C stops, quit or Ctrl-D leaves.\n"


class Repl:
    """Runs what the user types, on the thread that calls `run`."""

    def __init__(
        self,
        session: Interactive,
        registry: Registry,
        input: Input | None = None,
        output: Output | None = None,
        console: Callable[[Show], None] | None = None,
        after: Callable[[Show], None] | None = None,
    ) -> None:
        """`registry` has the session's commands. `input` and `output` are those of prompt_toolkit; by default the
        process's own. `console` makes the terminal the guest's console, until its user leaves that or the guest stops,
        which it shows. It may raise CommandError. `after` is called after each command, and may show more."""
        self._console, self._after = console, after
        self._session = session
        self._registry = registry
        self._input = input
        self._output = output
        self._prompt: PromptSession[str] | None = None
        self._notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._lines = Lines(self._put)
        self._context = contextvars.Context()
        self._runner = Runner(session)
        self._styles = Styles(sys.stdout)
        self._again = ""  # what an empty line runs

    def run(self) -> int:
        """Read and run lines until the end; the exit status."""
        # The terminal itself edits the line where it knows no escape sequences, as in a shell of Emacs.
        read: Callable[[], str] = self._read_plainly
        if self._output is not None or not is_dumb_terminal():
            self._prompt = self._editor()
            read = self._prompt.prompt
        self._context = contextvars.copy_context()
        self._session.on_notice(self._notice)
        self._write(BANNER)
        with contextlib.suppress(EOFError):
            while not self._session.finished:
                self._prompt_once(read)
        return 0

    def _read_plainly(self) -> str:
        # Who starts armprobe may ignore Ctrl-C, as a shell does for what it runs behind itself.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        # Between the prompt and its read, input() would not notice Ctrl-C until the line ends.
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        wake_before = signal.set_wakeup_fd(wake)
        try:
            self._put(PROMPT)
            while sys.stdin not in select.select([sys.stdin, woken], [], [])[0]:
                os.read(woken, 1)  # of another signal: Ctrl-C raises KeyboardInterrupt
            return input()
        except (EOFError, KeyboardInterrupt):
            self._write("\n")  # behind what is typed, and the terminal's ^C
            raise
        finally:
            signal.set_wakeup_fd(wake_before)
            signal.signal(signal.SIGINT, before)
            os.close(woken)
            os.close(wake)

    def _editor(self) -> PromptSession[str]:
        """What reads lines, with history, completion and the status below."""
        self._output = self._output or create_output()
        completer = SessionCompleter(self._session, self._registry)
        return PromptSession(
            PROMPT,
            history=_history(),
            enable_history_search=True,  # the arrow up goes to lines that begin with what is typed
            lexer=CommandLexer(self._registry),
            style=STYLE,
            completer=completer,
            complete_while_typing=False,
            key_bindings=tab_binding(completer, self._write),
            bottom_toolbar=self._status,
            refresh_interval=0.5,  # seconds: the status changes by itself
            input=self._input,
            output=self._output,
        )

    def _status(self) -> str:
        """The session's status, in one line of the terminal."""
        assert self._output
        return fitted(self._session.status(), self._output.get_size().columns)

    def _wrapped(self, text: str) -> str:
        """`text` for the terminal's width, if there is one."""
        return text if self._output is None else wrapped(text, self._output.get_size().columns)

    def _prompt_once(self, read: Callable[[], str]) -> None:
        try:
            text = read()
        except KeyboardInterrupt:
            return  # the line is dropped, as in a shell
        finally:
            self._show_notices()
        lines = text.splitlines() or [""]  # several where they were pasted
        for number, line in enumerate(lines, 1):
            line = line.strip() or (self._again if len(lines) == 1 else "")
            self._again = line if self._repeats(line) else ""
            if line == "console" and self._console is not None and len(lines) == 1:
                outcome = self._attach(self._console)
            else:
                outcome = self._runner.run(line, self._show, self._write)
            if outcome.error:
                self._write(self._wrapped(f"error: {error_text(outcome.error)}"))
            if self._session.finished:
                break
            if self._after is not None:
                self._after(self._show)
            if self._runner.interrupted and number < len(lines):
                left = len(lines) - number
                those = f"the {left} lines that were" if left > 1 else "the line that was"
                self._write(f"{those} pasted after this one {'are' if left > 1 else 'is'} not run\n")
                break
        self._end_line()

    def _attach(self, console: Callable[[Show], None]) -> Outcome:
        try:
            console(self._show)
        except CommandError as error:
            return Outcome(None, error)
        self._write("left the guest's console; the guest is stopped\n")
        return Outcome(None)

    def _repeats(self, line: str) -> bool:
        try:
            words = split(line)
            return bool(words) and self._registry.find(words[0].text).repeat
        except CommandError:
            return False

    def _notice(self, text: str) -> None:
        """Show a notice from another thread: above the prompt if there is one, else at once."""
        self._notices.put(text)
        app = self._prompt.app if self._prompt else None
        loop = app.loop if app and app.is_running else None
        if loop:
            with contextlib.suppress(RuntimeError):  # the prompt has just ended, and shows it itself
                # In the context of the prompt's thread, which is how prompt_toolkit finds the terminal.
                loop.call_soon_threadsafe(run_in_terminal, self._show_notices, context=self._context.copy())
        else:
            self._drain_notices()

    def _show_notices(self) -> None:
        """Show the waiting notices, with a line end before the prompt."""
        self._drain_notices()
        self._end_line()

    def _drain_notices(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                text = self._notices.get_nowait()
                with self._writing:
                    self._lines.add(self._styles.text(text), self._notices)

    def _show(self, value: object) -> None:
        self._write_styled(self._styles.value(value))

    def _write(self, text: str) -> None:
        self._write_styled(self._styles.text(text))

    def _write_styled(self, text: str) -> None:
        with self._writing:
            self._lines.add(text, self)

    def _end_line(self) -> None:
        with self._writing:
            self._lines.end()

    def _put(self, text: str) -> None:
        if self._output is None:
            say_styled(text)
        else:
            self._output.write_raw(text)
            self._output.flush()


def _history() -> History:
    """The lines of earlier sessions, in the state folder of the XDG Base Directory Specification, or none."""
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
        path = Path(state) / "armprobe" / "history"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        host_files.read_file(path, _LONGEST_HISTORY)  # prompt_toolkit would wait for a pipe, and read any size
        if os.access(path, os.W_OK):
            return FileHistory(path)
    except (OSError, MachineError, RuntimeError):  # RuntimeError: there is no home
        pass
    return InMemoryHistory()
