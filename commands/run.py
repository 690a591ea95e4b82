# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that run the guest."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Final

from armprobe.machine import Stop, StopReason
from armprobe.session.authority import Host

from .declaration import Arg, Arguments, Clause, Command, Option, Parts, integer, seconds
from .errors import CommandError
from .guest_time import TIMEOUT, run_for
from .locations import complete_symbol, place
from .values import ConsoleAnswer, ConsoleOutput, ConsoleText, LentFiles, Returned, Stepped, Stopped

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "Running"
_QUIET: Final = 0.25  # seconds of guest time without output after which an answer on the console is complete
_ANSWER_PART: Final = 20_000  # instructions after which what has been printed is shown
_ANSWER_LIMIT: Final = 2_000_000_000  # instructions


def _continue(session: Session, arguments: Arguments) -> Stopped:
    from .stops import stopped

    until, count = arguments.until, arguments.instructions
    if count is not None and count < 1:
        raise CommandError("instructions= takes a count of at least 1")
    if arguments.pattern is not None:
        timeout = TIMEOUT if arguments.timeout is None else arguments.timeout
        return stopped(session, run_until_printed(session, arguments.pattern, timeout, until, count))
    if arguments.timeout is not None:
        raise CommandError("timeout= is for until-console, as in continue timeout=10 until-console login:")
    run = lambda: session.machine.run(until=until, instructions=count)  # noqa: E731
    return stopped(session, session.go(run, waits=count is None))


def run_until_printed(
    session: Session,
    pattern: str,
    timeout: float,
    until: int | None = None,
    instructions: int | None = None,
    before: bytes = b"",
) -> Stop:
    """Run the guest until its console has printed `pattern`, or until `Machine.run` ends by `until` or `instructions`.

    `timeout` is in seconds of the guest's time, and `before` output that may have the pattern already. For the owner's
    thread. Raises CommandError if the time is over or the guest ends before, or idles without a timer.
    """
    stop: Stop | None = Stop(StopReason.INTERRUPTED, session.machine.registers.pc)
    with session.machine.console.watch(pattern, before) as watched:
        if watched.match is None:
            stop = run_for(session, timeout, until, instructions)
    if stop is None:
        raise CommandError(watched.missing(f"within {timeout:g} s of the guest's time"))
    if watched.match is not None and stop.reason is StopReason.INTERRUPTED:
        printed = watched.match[0].decode("utf-8", "replace")
        stop = session.stop = Stop(StopReason.UNTIL, stop.address, f"the console has printed {printed!r}")
    elif stop.reason is StopReason.IDLE or stop.reason.final:
        raise CommandError(watched.missing(f"before the guest stopped ({stop.text or stop.reason.value})"))
    return stop


def _run(session: Session, arguments: Arguments) -> Stopped:
    with session.running():  # or it would not be put back
        if session.controlled:
            raise CommandError("gdb is in control of the guest: use run there, or detach it")
        if session.machine.timeline.position > session.machine.timeline.start:
            session.remark("note: the guest begins again; what it has done, and its history, are gone\n")
        session.machine.reset()
    return _continue(session, arguments)


def _step(session: Session, arguments: Arguments) -> Stepped:
    if arguments.count < 1:
        raise CommandError("step takes a count of at least 1")
    from .stepping import stepped  # with what disassembles

    return stepped(session, session.go(lambda: session.machine.step(arguments.count)))


def _call(session: Session, arguments: Arguments) -> Returned:
    if arguments.kworker is not None:
        result = session.guest.call(arguments.function, *arguments.arguments)
    else:
        with warnings.catch_warnings(record=True, category=UserWarning) as caught:
            result = session.machine.call(arguments.function, *arguments.arguments)
        for warning in caught:
            session.remark(f"warning: {warning.message}\n")
    return Returned(result, result - (1 << 64) if result >> 63 else result)


def _console(session: Session, arguments: Arguments) -> Parts[ConsoleOutput | ConsoleAnswer]:
    console = session.machine.console
    if arguments.line is None:
        output = ConsoleOutput(session.console_text.add(console.read()))
        yield output
        return output
    console.write(arguments.line.encode("utf-8", "surrogateescape") + b"\n")
    if session.controlled:
        waiting = ConsoleAnswer("", waits=True, ended=False, stop=None)
        yield waiting
        return waiting
    session.console_in_use = True
    try:
        return (yield from _answer(session))
    finally:
        session.console_in_use = False


def _answer(session: Session) -> Parts[ConsoleAnswer]:
    """Run the guest until it has been quiet for a while, showing what it prints."""
    from .stops import stopped

    console, clock = session.machine.console, session.machine.clock
    printed, waiting, part = "", False, None
    quiet_since = clock.seconds
    start = session.machine.instructions
    while session.machine.instructions - start < _ANSWER_LIMIT:
        stop = session.go(partial(session.machine.run, None, _ANSWER_PART, part), waits=False)
        part = session.machine.scheduler.last_run
        new = console.read()
        if new:
            text = session.console_text.add(new)
            printed += text
            yield ConsoleText(text)
            quiet_since = clock.seconds
        if stop.reason is StopReason.IDLE:
            waiting = True  # for more input: that was all
            break
        if stop.reason is not StopReason.INSTRUCTIONS:
            answer = ConsoleAnswer(printed, waits=False, ended=False, stop=stopped(session, stop))
            yield ConsoleText("\n")
            yield stopped(session, stop)
            return answer
        if clock.seconds - quiet_since > _QUIET and not session.machine.uart.received:
            waiting = printed[-1:] not in ("", "\n")  # then the last line is a prompt
            break
    if not printed.endswith("\n"):
        yield ConsoleText("\n")
    if not waiting:
        session.remark("the guest has not printed a prompt yet: continue has it go on with what was typed\n")
    return ConsoleAnswer(printed, waits=False, ended=waiting, stop=None)


def _semihosting(session: Session, arguments: Arguments) -> LentFiles:
    if session.machine.semihosting is None:
        raise CommandError("semihosting is for bare-metal programs: a Linux guest has its own files")
    if arguments.files is not None:
        session.debug_target.lend_files(arguments.files == "gdb")
    return LentFiles(session.debug_target.lends_files)


def _quit(session: Session, arguments: Arguments) -> None:
    session.finished = True


_ENDS: Final = (
    Option("until", "stop at SYMBOL or an address", type=place, complete=complete_symbol),
    Option("instructions", "stop after this number of instructions", type=integer),
    Option(
        "timeout",
        f"with until-console: time of the guest, such as 10 (seconds) or 20ms (default: {TIMEOUT:g})",
        type=seconds,
    ),
    Clause("until-console", "pattern", "stop when the guest prints this regular expression, from now on"),
)

COMMANDS = (
    Command(
        "continue",
        "Run the guest until a probe with stop= stops it, Ctrl-C is pressed, or the guest ends.\n"
        "With until-console it stops when the guest has printed what is given, a regular expression: scripts wait for\n"
        "a prompt or a message by that. It is an error if the guest ends before, or has not printed it in time.\n\n"
        "    continue timeout=100 until-console login:",
        _ENDS,
        _continue,
        aliases=("c",),
        group=GROUP,
        gdb=False,
    ),
    Command(
        "run",
        "Run the guest from its start: put it back to the state in which it was loaded, and continue.\n"
        "Probes and breakpoints stay set.",
        _ENDS,
        _run,
        aliases=("r",),
        group=GROUP,
        gdb=False,
        changes_state=True,
    ),
    Command(
        "step",
        "Execute one instruction, or COUNT. A probed instruction counts as one, however the probe executes it.",
        (Arg("count", "number of instructions", type=integer, optional=True, default=1),),
        _step,
        aliases=("si", "stepi"),
        group=GROUP,
        gdb=False,
        repeat=True,
    ),
    Command(
        "call",
        "Call a function of the guest with up to eight numbers or addresses, and show what it returns.\n"
        "If a probe, a breakpoint or Ctrl-C stops it before it returns, the call is abandoned: registers and probes\n"
        "are restored, and memory stays as the function left it.\n\n"
        "What the guest is stopped in must not sleep if it is the idle task or holds a lock. For a function that may\n"
        "sleep say kworker=yes: a thread of a Linux guest's kernel calls it, and the guest runs on meanwhile.",
        (
            Option("kworker", "have a thread of the guest's kernel call it", choices=("yes",)),
            Arg("function", "SYMBOL or address", type=place, complete=complete_symbol),
            Arg(
                "arguments",
                "numbers, addresses or symbols, for x0 to x7",
                type=place,
                optional=True,
                many=True,
                complete=complete_symbol,
            ),
        ),
        _call,
        group=GROUP,
        gdb="guest-call",
        changes_state=True,
    ),
    Command(
        "console",
        "Show what the guest has printed since the last look, or type a line at its console and show the answer.\n"
        "With a line the guest runs until it has printed nothing for 0.25 s of its time, but not while gdb is in\n"
        "control of it. If it has printed no prompt by then, a remark says so, and continue goes on.\n\n"
        "At armprobe's own prompt, console alone makes the terminal the guest's console, and the guest runs: Ctrl-]\n"
        "leaves it, and Ctrl-C is the guest's.",
        (Arg("line", "text to type; a newline is added", optional=True, rest=True, foreign=True),),
        _console,
        group=GROUP,
        changes_state=True,
    ),
    Command(
        "semihosting",
        "Show which files a bare-metal program can use, or let it use those of the attached gdb.\n"
        "With files=gdb, gdb executes the program's file requests (semihosting) with the rights of gdb's user and in\n"
        "gdb's working directory: the program can read, change and delete files. Requests for the console, the time\n"
        "and the exit need no permission. A setting made in gdb holds until that gdb detaches.",
        (Option("files", "owner of the files that the guest may use", choices=("gdb", "none")),),
        _semihosting,
        group=GROUP,
    ),
    Command(
        "quit",
        "Leave armprobe, and end the guest.",
        (),
        _quit,
        aliases=("exit", "q"),
        group=GROUP,
        gdb=False,
        host=Host.PROCESSES,
    ),
)
