# SPDX-License-Identifier: GPL-2.0-or-later
"""A debugger as a child process, in a session of its own: its start and its end."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from .gdb_records import GdbError

GRACE: Final = 2.0
"""Seconds that a debugger has to exit by itself."""


def started(
    name: str,
    options: Sequence[str],
    environment: Mapping[str, str],
    *,
    package: str,
    stdin: int,
    stdout: int,
    stderr: int,
    pass_fds: Collection[int] = (),
) -> subprocess.Popen[bytes]:
    """The debugger `name`, a name or a path, which runs with `environment` added to ours.

    package: what to install where it is absent. The rest is as for `subprocess.Popen`. Raises `GdbError` if it is
    absent or does not run.
    """
    path = shutil.which(name)
    if path is None:
        raise GdbError(f"{name} is not installed or not executable ({package})")
    try:
        return subprocess.Popen(
            [path, *options],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            pass_fds=pass_fds,
            env={**os.environ, **environment},
            start_new_session=True,  # a Ctrl-C for this program must not reach the debugger
        )
    except OSError as error:
        raise GdbError(f"{path} does not run: {error.strerror}") from None


@contextlib.contextmanager
def ending(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """A context in which the debugger is told to exit. At its end it is killed if it has not, and reaped."""
    try:
        yield
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:  # a Ctrl-C here is no reason to leave it behind
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
