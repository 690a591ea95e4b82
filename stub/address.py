# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a server listens: addresses as users write them, and the listening sockets they stand for."""

import errno
import ipaddress
import logging
import os
import re
import socket
import stat
from contextlib import suppress

from .errors import StubError

log = logging.getLogger("armprobe.stub")

LOOPBACK = "127.0.0.1"
_TCP = re.compile(r"(?:(?P<host>[^:\[\]]*)|\[(?P<host6>[^\[\]]+)\]):(?P<port>[0-9]{1,5})")


def listen(address: str) -> socket.socket:
    """Listen on "HOST:PORT", "[HOST6]:PORT" or "unix:/path".

    Port 0 means any that is free. An empty host, and "localhost", are 127.0.0.1: who wants to be reached from elsewhere
    names an address of this computer's, "0.0.0.0" for all. Raises `StubError`.
    """
    try:
        return _listen_unix(address.removeprefix("unix:")) if address.startswith("unix:") else _listen_tcp(address)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise StubError(f"{address} is in use: stop what listens there, or listen elsewhere") from None
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StubError(f"cannot listen on {address}: {reason}") from None


def written(listener: socket.socket) -> str:
    """The address a listening socket really has, as clients are told it."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def forget(listener: socket.socket) -> None:
    """Close a listening socket, and remove its file if it has one."""
    path = listener.getsockname() if listener.family == socket.AF_UNIX else None
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits in accept, which close does not
    listener.close()
    if path:
        with suppress(OSError):
            os.unlink(path)


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
        log.warning("whoever can reach %s controls the guest: there is no password", written(listener))
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
