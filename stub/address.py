# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses to listen on as users write them, the sockets that they stand for, and the user of a connected socket."""

import errno
import ipaddress
import logging
import os
import re
import socket
import stat
import struct
import tempfile
from contextlib import suppress

from armprobe.machine.lazy_dataclass import lazy_dataclass

from .errors import AddressInUse, StubError

log = logging.getLogger("armprobe.stub")

LOOPBACK = "127.0.0.1"
PRIVATE = "private"
"""A unix socket that only this user can connect to, in a folder of its own, which goes with it."""
_CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group
_LONGEST_PARENT = 80  # bytes: a socket's path may have 107 (unix(7)), and ours adds "/armprobe-abcdefgh/stub"
_TCP = re.compile(r"(?:(?P<host>[^:\[\]]*)|\[(?P<host6>[^\[\]]+)\]):(?P<port>[0-9]{1,5})")


@lazy_dataclass
class Listener:
    """A listening socket."""

    socket: socket.socket
    folder: tempfile.TemporaryDirectory[str] | None = None
    """The folder that was made for it."""

    @property
    def address(self) -> str:
        """The actual address, as clients are told it."""
        name = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return f"unix:{name}"
        return f"[{name[0]}]:{name[1]}" if self.socket.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"

    def close(self) -> None:
        """Stop listening, and remove the socket's file and folder if it has them."""
        path = self.socket.getsockname() if self.socket.family == socket.AF_UNIX else None
        self.socket.close()
        if path:
            with suppress(OSError):
                os.unlink(path)
        if self.folder:
            self.folder.cleanup()


def listen(address: str) -> Listener:
    """Listen on "HOST:PORT", "[HOST6]:PORT", "unix:/path" or "private".

    Port 0 means any that is free. An empty host and "localhost" are 127.0.0.1. To be reached from elsewhere, name an
    address of this computer's, or "0.0.0.0" for all. "private" is a unix socket in a folder of its own, which
    only this user can enter. Raises `StubError`.
    """
    try:
        if address == PRIVATE:
            return _listen_privately()
        if address.startswith("unix:"):
            return Listener(_listen_unix(address.removeprefix("unix:")))
        return Listener(_listen_tcp(address))
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"{address} is in use: stop what listens there, or listen elsewhere") from None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StubError(f"cannot listen on {address}: {reason}") from None


def same_user(connected: socket.socket) -> bool:
    """Whether the process at the other end is known to be this user's or root's.

    A unix socket tells it (unix(7), SO_PEERCRED); for TCP the system does not know.
    """
    if connected.family != socket.AF_UNIX:
        return False
    _, user, _ = _CREDENTIALS.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return user in (0, os.geteuid())


def _listen_privately() -> Listener:
    """In the user's own folder for such things (XDG Base Directory Specification), or where temporary files are."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # After su or sudo it may be another user's, who could put something else in the place of ours.
    with suppress(OSError):
        if os.stat(runtime).st_uid != os.geteuid():
            runtime = ""
    for parent in (runtime, tempfile.gettempdir(), "/tmp"):
        if os.path.isdir(parent) and os.access(parent, os.W_OK) and len(os.fsencode(parent)) < _LONGEST_PARENT:
            folder = tempfile.TemporaryDirectory(prefix="armprobe-", dir=parent)
            return Listener(_listen_unix(os.path.join(folder.name, "stub")), folder)
    raise StubError("there is no folder for a private socket: set TMPDIR to one that can be written")


def _listen_tcp(address: str) -> socket.socket:
    match = _TCP.fullmatch(address)
    if not match or int(match["port"]) > 65535:
        raise StubError(f"{address!r} is no address to listen on: write HOST:PORT or unix:/path")
    host = match["host6"] or match["host"]
    if host in ("", "localhost"):
        host = LOOPBACK
    family, kind, protocol, _, name = socket.getaddrinfo(host, int(match["port"]), type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port whose last clients linger is free
        listener.bind(name)
        listener.listen(socket.SOMAXCONN)
    except OSError:
        listener.close()
        raise
    if not ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback:
        log.warning("whoever can reach %s controls the guest: there is no password", Listener(listener).address)
    return listener


def _listen_unix(path: str) -> socket.socket:
    if not path:
        raise StubError("unix: names no socket: write unix:/path")
    path = os.path.abspath(path)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)  # before listen, so that nobody else ever gets in
        listener.listen(socket.SOMAXCONN)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove the socket of a server that is gone; leave it if there is one, for bind to complain."""
    with suppress(OSError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
