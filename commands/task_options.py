# SPDX-License-Identifier: GPL-2.0-or-later
"""The options pid=, comm= and tree= of probes: one task's hits, those of tasks of a name, or of a process and its tree.

They are conditions, so a probe that only records or counts stays optimised.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial, reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from armprobe.expressions import Condition
from armprobe.expressions import program as typed
from armprobe.kernel.task_list import COMM_SIZE

from .declaration import Arguments, Option, integer
from .errors import CommandError
from .kernel import complete_task, known_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from armprobe.expressions import Scope
    from armprobe.expressions.typed import Value
    from armprobe.session import Session

_GENERATIONS: Final = 12


def _complete_comm(session: Session, word: str) -> Iterable[str]:
    """Names of the tasks."""
    tasks = known_tasks(session)
    return sorted({task.comm for task in tasks()}) if tasks is not None else []


OPTIONS: Final = (
    Option("pid", "only hits of the task of this number; tasks lists them", type=integer, complete=complete_task),
    Option("comm", "only hits of tasks of this name", complete=_complete_comm),
    Option(
        "tree",
        f"only hits of this process and of those that descend from it, over {_GENERATIONS} generations",
        type=integer,
        complete=complete_task,
    ),
)


def compiled(session: Session, arguments: Arguments, scope: Scope) -> Condition | None:
    """The condition for the options and for what is after `if`; None without any.

    It is shown as its user wrote it. Raises ExpressionError, and CommandError for an option that is wrong.
    """
    text = _condition(arguments)
    parts = [typed.value(each, scope) for each in _plain(arguments)]
    if arguments.tree is not None:
        parts.append(_tree(_number(arguments.tree), scope))
    if not parts:
        return None if text is None else Condition.compile(text, scope)
    if known_tasks(session) is None:
        raise CommandError("pid=, comm= and tree= choose tasks of Linux, which this guest is not")
    if text is not None:
        parts.append(typed.value(text, scope))
    return Condition.of(reduce(partial(typed.logical, "&&"), parts), shown(arguments), scope)


def given(arguments: Arguments) -> bool:
    """Whether there is such an option."""
    return any(getattr(arguments, option.name) is not None for option in OPTIONS)


def _plain(arguments: Arguments) -> Iterator[str]:
    if arguments.pid is not None:
        yield f"$pid == {_number(arguments.pid)}"
    if arguments.comm is not None:
        if len(arguments.comm.encode("utf-8", "surrogateescape")) >= COMM_SIZE:
            raise CommandError(f"comm={arguments.comm}: the name of a task has {COMM_SIZE - 1} bytes at most")
        text = arguments.comm.replace("\\", "\\\\").replace('"', '\\"')
        yield f'$comm == "{text}"'


def _number(given: int) -> int:
    if not 0 <= given < 1 << 31:
        raise CommandError(f"{given} is not the number of a task: tasks lists them")
    return given


def _tree(pid: int, scope: Scope) -> Value:
    """Whether a parent's process has that number. The idle task, with which each tree begins, is its own parent."""
    tasks = ["$task" + "->real_parent" * above for above in range(_GENERATIONS + 1)]
    found = typed.value(f"{tasks[-1]}->tgid == {pid}", scope)
    for task, parent in reversed(list(pairwise(tasks))):
        above = typed.logical("&&", typed.value(f"{task} != {parent}", scope), found)
        found = typed.logical("||", typed.value(f"{task}->tgid == {pid}", scope), above)
    return found


def shown(arguments: Arguments) -> str:
    """What a user has asked for, the options first; empty without any."""
    options = [f"{each.name}={value}" for each in OPTIONS if (value := getattr(arguments, each.name)) is not None]
    text = _condition(arguments)
    return " && ".join([*options, *([text] if text is not None else [])])


def _condition(arguments: Arguments) -> str | None:
    """What is after `if`; None for a command without it, too."""
    return getattr(arguments, "condition", None)
