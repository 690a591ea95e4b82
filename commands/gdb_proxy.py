# SPDX-License-Identifier: GPL-2.0-or-later
"""Loaded into gdb: turns the commands of the connected armprobe machine into gdb commands.

When gdb connects, the proxy fetches the table of commands from the stub. Each command whose name gdb does not use
becomes a `gdb.Command`, which asks the stub to run and to complete its line. A gdb without a program also gets the
machine's symbols. Statements about gdb here were measured on 13.1; the tests also pass with 16.3 and 18.1. Standard
library only: gdb embeds the system's Python and sees no virtual environment.
"""

import contextlib
import importlib.util
import json
import os
import re
import sys
from types import ModuleType
from typing import Any

import gdb

MODULE = "armprobe_proxy"
DEFAULT_PACKET_SIZE = 400  # gdb's own default, for a target that states none


def beside(name: str) -> ModuleType:
    """Load the file `name`.py of this folder as a module, apart from the user's own Python."""
    spec = importlib.util.spec_from_file_location(
        f"armprobe_{name}", os.path.join(os.path.dirname(__file__), f"{name}.py")
    )
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


entries = beside("gdb_entries")
hooks = beside("gdb_hooks")
locations = beside("gdb_locations")
printers = beside("gdb_printers")
variables = beside("gdb_variables")
Symbols = beside("gdb_symbols").Symbols


def packet_size() -> int:
    """The PacketSize, in bytes, that the stub stated. gdb keeps to it itself, but not in `send_packet`."""
    found = re.search(r"limited to (\d+) bytes", gdb.execute("show remote memory-write-packet-size", to_string=True))
    return int(found[1]) if found else DEFAULT_PACKET_SIZE


def exchange(payload: str) -> bytes:
    """The stub's reply to a packet. Raises `gdb.GdbError` if it cannot be asked."""
    connection = gdb.selected_inferior().connection
    if not isinstance(connection, gdb.RemoteTargetConnection):
        raise gdb.GdbError("gdb is not connected to an armprobe machine: use target remote first")
    try:
        reply: bytes = connection.send_packet(payload.encode()) or b""
    except gdb.error as error:
        raise gdb.GdbError(f"the machine cannot be asked: {error}") from None
    return reply


def ask(packet: str, line: str | None = None) -> str | None:
    """The text in the reply to a qArmprobe packet. None if the target does not know the packet.

    Raises `gdb.GdbError` with the stub's message if it refuses, or if the packet cannot be sent.
    """
    return text_of(packet, exchange(packet if line is None else with_line(packet, line)))


def run(line: str, limit: int, packet: str = "qArmprobe.run") -> str | None:
    """The stub's answer to a command, however long that takes. Ctrl-C interrupts it. Raises as `ask` does.

    limit: the maximum size of a packet in bytes.
    """
    payload = with_line(packet, line)
    if len(payload) > limit:
        raise gdb.GdbError(f"the line is too long: a packet of {len(payload)} bytes, where {limit} are allowed")
    begun = False
    while True:
        try:
            begun = True
            reply = exchange(payload)
            if reply[:1] != b"2":
                return text_of("qArmprobe.run", reply)
            payload = "qArmprobe.wait"
        except KeyboardInterrupt:
            if not begun:
                raise
            payload = "qArmprobe.interrupt"


def value_of(line: str) -> Any:
    """The value that a command answers with, as in armprobe's JSON. Raises `gdb.GdbError` with its message."""
    said = json.loads(run(line, PROXY.packet_size, "qArmprobe.value") or '{"error": "there is no armprobe machine"}')
    if "error" in said:
        raise gdb.GdbError(said["error"])
    return said["value"]


def with_line(packet: str, line: str) -> str:
    """A packet that contains a line of text."""
    return f"{packet}:{line.encode(errors='surrogateescape').hex()}"


def text_of(packet: str, reply: bytes) -> str | None:
    """The text of the reply to `packet`. Raises `gdb.GdbError` if the reply is a refusal."""
    if not reply:
        return None
    status, text = reply[:1], reply[1:].decode("ascii", "replace")
    if status not in b"01":
        raise gdb.GdbError(f"the stub refused the packet {packet}: {reply.decode('ascii', 'replace')}")
    text = bytes.fromhex(text).decode(errors="replace")
    if status == b"0":
        raise gdb.GdbError(text.strip())
    return text


# Names in a condition that gdb does not have: armprobe compiles it then (docs/expressions.md).
OWN_NAMES = re.compile(r"(?<![\w$.>])(?:retval\b|\$(?:retval|elapsed|comm|pid|tgid|task|cpu)\b)")


def compiled(command: str, argument: str) -> str:
    """The argument of a probe's command. A final ``if CONDITION`` is also added as gdb compiles it.

    Raises `gdb.GdbError` if gdb cannot compile it for the place where it is evaluated.
    """
    found = re.search(r"(?:^|\s)if\s+(.*?)(\sprint\s.*)?$", argument, re.DOTALL)
    words = argument[: found.start()].split() if found is not None else []
    place = next((word for word in words if "=" not in word), None)
    if found is None or place is None or OWN_NAMES.search(found[1]):
        return argument
    instead = f"monitor {command} {argument.strip()} takes armprobe's own conditions: help {command}"
    if not re.fullmatch(r"(?:\w+:)?\w[\w.]*(?:\+\w+)?", place):
        raise gdb.GdbError(f"gdb compiles conditions for the entry of a function, which {place} is not. {instead}")
    at_return = command == "kretprobe" and "at=entry" not in words
    try:
        operations = agent_code(place, found[1], at_return)
    except gdb.error as error:
        raise gdb.GdbError(f"gdb cannot compile the condition: {str(error).rstrip('.')}. {instead}") from None
    code = ",".join(f"{name}:{operand}" if operand else name for name, operand in operations)
    return f"{argument[: found.start()]} code={code} if {found[1]}{found[2] or ''}"


def agent_code(place: str, expression: str, at_return: bool) -> list[tuple[str, str]]:
    """The operations, with their operands, that gdb compiles `expression` to for a probe at `place`.

    gdb compiles for the end of the prologue of each function with the name. The result is for the probe's function.
    Raises `gdb.error` if variables are not at the same place at the probe and at the end of the prologue.
    """
    there = json.loads(ask("qArmprobe.place", place) or "null")
    if there is None:  # gdb's own message is good enough
        return only_code(listed(f"'{place}', {expression}"))
    end = there["start"] + max(there["size"], entries.MOST_PATCHED)
    described = entries.function_in(there["start"], end)
    if described is None:  # nor are there variables
        return only_code(listed(f"'{there['name']}', {expression}"))
    function, entry = described
    if there["address"] not in (there["start"], entry):
        raise gdb.error(f"it does so for the entry of a function, which {place} is not")
    if at_return:
        refuse_variables(expression, gdb.block_for_pc(entry))
    elif not entries.only_nops(there["address"], entry):
        raise gdb.error(f"it knows where variables are at {entry:#x}; {place} is before that, and has other than NOPs")
    listing = listed(f"'{function.symtab.filename}':{function.name}, {expression}")
    _, *parts = re.split(r"^Scope: 0x([0-9a-f]+)$", listing, flags=re.MULTILINE)
    scopes = {int(scope, 16): code for scope, code in zip(parts[::2], parts[1::2], strict=True)}
    if entry not in scopes:
        behind = ", ".join(f"{scope:#x}" for scope in scopes)
        raise gdb.error(f"it knows where variables are at {behind}, behind the prologue, and not at the entry")
    return only_code(scopes[entry])


def listed(arguments: str) -> str:
    """gdb's output for `maint agent-eval -at`."""
    return str(entries.said(f"maint agent-eval -at {arguments}"))


def only_code(listing: str) -> list[tuple[str, str]]:
    """The operations in the first part of a listing."""
    _, *parts = re.split(r"^Reg mask:", listing, flags=re.MULTILINE)
    return re.findall(r"^ *\d+  (\w+)(?: (-?\d+))?$", parts[0], re.MULTILINE) if parts else []


def refuse_variables(expression: str, block: Any) -> None:
    """Raise `gdb.error` if the expression uses a variable of the block: they do not exist at the return."""
    names = set()
    while block is not None and not block.is_static:
        names |= {symbol.name for symbol in block if symbol.is_argument or symbol.is_variable}
        block = block.superblock
    for name in re.findall(r"(?<![\w$.>])[A-Za-z_]\w*", expression):
        if name in names:
            raise gdb.error(f"{name} is gone when the function returns: use $x0, the result, or at=entry")


class ProxyCommand(gdb.Command):  # type: ignore[misc]  # the types of gdb are known inside gdb only
    """A command that the stub runs and completes. `entry` is a row of the stub's table, `name` its name in gdb."""

    def __init__(self, entry: dict[str, Any], name: str) -> None:
        self.entry = entry
        self.__doc__ = entry["help"]
        if name == entry["gdb_name"] != entry["name"]:
            self.__doc__ += f"\ngdb has its own {entry['name']}; armprobe's is {name} here.\n"
        if entry.get("place"):
            self.__doc__ += "\nThe place may be gdb's, too: FILE:LINE, FILE:FUNCTION, *ADDRESS or $REGISTER.\n"
        super().__init__(name, gdb.COMMAND_STATUS if name.startswith("info ") else gdb.COMMAND_USER)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Run the command. Raises `gdb.GdbError` with the command's own message."""
        if not self.entry["repeat"]:
            self.dont_repeat()
        PROXY.refresh()
        if self.entry.get("place"):
            argument = locations.resolved(argument, lambda word: ask("qArmprobe.place", word))
        if self.entry.get("condition"):
            argument = compiled(self.entry["name"], argument)
        try:
            text = run(f"{self.entry['name']} {argument}".strip(), PROXY.packet_size)
        finally:
            if self.entry["changes_state"]:
                PROXY.forget()
                with contextlib.suppress(gdb.GdbError):
                    ask("qArmprobe.changes")  # gdb knows of these
        if text is None:
            raise gdb.GdbError("gdb is connected to something that is not an armprobe machine")
        gdb.write(text if text.endswith("\n") or not text else f"{text}\n")

    def complete(self, text: str, word: str | None) -> list[str] | int | None:
        """Candidates for `word`, the part of the last word of `text` after gdb's last word separator.

        gdb itself completes a place with a file.
        """
        if self.entry.get("place") and locations.is_file(text.strip()):
            return int(gdb.COMPLETE_LOCATION)
        if word is None:  # gdb asks only for the start of the word; its own answer will do
            return None
        return candidates(f"{self.entry['name']} {text.lstrip()}", word)


def candidates(line: str, word: str) -> list[str]:
    """What armprobe proposes for `word`, the part of the last word of `line` after gdb's last word separator."""
    try:
        said = ask("qArmprobe.complete", line) or ""
    except gdb.GdbError:
        return []
    ours = re.split(r"\s", line)[-1]
    known = len(ours) - len(word)
    return [candidate[known:] for candidate in said.splitlines() if candidate.startswith(ours)]


class InternalCommand(gdb.Command):  # type: ignore[misc]
    """Call a method of armprobe's program inside gdb. For its own hooks: python would run the user's hook-python."""

    def __init__(self) -> None:
        super().__init__(hooks.INTERNAL, gdb.COMMAND_MAINTENANCE)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Call the method named `argument`."""
        getattr(PROXY, argument)()


class ChangesCommand(gdb.Command):  # type: ignore[misc]
    """Find out whether the guest was changed from outside, by armprobe's prompt or a script, since gdb looked at it.

    If so, drop the registers and the memory that gdb has cached, and show where the guest is now. gdb does this by
    itself before each prompt and before commands that look at the guest. A Python program calls
    gdb.execute("guest-changes") before it looks at the guest itself.
    """

    def __init__(self) -> None:
        super().__init__(hooks.NOTICE, gdb.COMMAND_STATUS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Do so."""
        PROXY.notice()


class LineCommand(gdb.Command):  # type: ignore[misc]
    """Run any command of armprobe: armprobe LINE, as monitor LINE does. armprobe help lists them."""

    def __init__(self) -> None:
        super().__init__("armprobe", gdb.COMMAND_RUNNING)

    def invoke(self, argument: str, from_tty: bool) -> None:
        """Run it."""
        gdb.execute(f"monitor {argument.strip() or 'help'}", from_tty)

    def complete(self, text: str, word: str | None) -> list[str] | None:
        """Candidates for `word`, the last part of `text`."""
        return None if word is None else candidates(text, word)


class Proxy:
    """Keeps gdb's commands, symbols and convenience variables in step with the machine that gdb is connected to.

    `gdb.execute` also runs the commands of the breakpoint that gdb has stopped at, if they have not run yet
    (gdb/python/python.c, execute_gdb_command). If one of them resumes the guest, gdb never notices the next stop. So it
    is called only after gdb has reported a stop, which is in handlers of the stop and in hook-stop.
    """

    def __init__(self) -> None:
        self._connection: Any = None
        self._ours = False  # whether the connection leads to an armprobe machine
        self._defined: dict[str, ProxyCommand] = {}
        self._symbols = Symbols()
        self._stopping = False  # hook-stop has begun, and the stop has not been reported yet
        self._stale = False  # gdb's caches are out of date
        self._new_stop = False  # it has not been at the prompt since it has stopped
        self._looks: list[str] = []  # commands with a hook of the proxy's
        self._defining = False  # the user is defining a command, perhaps a hook
        self.packet_size = DEFAULT_PACKET_SIZE

    def start(self) -> None:
        """Look at the present connection, and at each new one.

        gdb reports a new connection by a stop, at which the connection cannot be used yet. So the proxy looks at it
        after the command that connected: in a hook after the command, and before the next prompt, because gdb 13 skips
        the hook for a command that was typed. (An event posted to gdb's loop would do, but gdb 13 crashes if one is
        left when it exits.)
        """
        gdb.events.stop.connect(lambda event: self.stopped())
        gdb.events.exited.connect(lambda event: variables.set_variables(None))
        gdb.events.before_prompt.connect(self.at_prompt)
        InternalCommand()
        entries.EntryFilter()
        printers.register(value_of, beside("pstate").pstate)
        hooks.define_command("hook-define", hooks.calling("defining"))
        hooks.define_command("hookpost-define", hooks.calling("keep_hooks"))
        self.keep_hooks()
        self.update()
        if self._connection is None:
            self._symbols.stand_in()

    def at_prompt(self) -> None:
        """Called when gdb has finished its work and is about to read a command."""
        self.update()
        if self._defining:  # gdb 13 skips the hook after it if it was typed
            self.keep_hooks()
        self.notice()
        self.refresh()
        self.show_context()

    def show_context(self) -> None:
        """Show what the user wants to see after each stop, if there was one."""
        thread = gdb.selected_thread()
        if self._new_stop and self._ours and thread is not None and not thread.is_running():
            self._new_stop = False
            with contextlib.suppress(gdb.GdbError):  # the connection is gone
                gdb.write(ask("qArmprobe.context") or "")

    def stopped(self) -> None:
        """Called when gdb has stopped for the user, before it runs the user's commands for this stop."""
        if not self._stopping:
            self.look()
        self._stopping, self._new_stop = False, True
        if gdb.convenience_variable("_stage") is not None and (entry := entries.known_from(gdb.newest_frame().pc())):
            gdb.write(entries.NOTICE.format(entry))

    def arguments(self) -> None:
        """Called after `info args`: at a function's symbol, show the arguments although gdb has it in no function."""
        frame = gdb.selected_frame()
        if self._ours and not frame.level() and (entry := entries.known_from(frame.pc())):
            entries.show_arguments(frame.pc(), entry)

    def look(self) -> None:
        """Set the convenience variables for this stop. Called by hook-stop, if the user has one."""
        self._stopping = True
        said = None
        if self._ours and gdb.selected_inferior().connection is self._connection:
            with contextlib.suppress(gdb.GdbError):  # the program has ended
                said = ask("qArmprobe.stop")
        variables.set_variables(said)

    def defining(self) -> None:
        """Called before the user defines a command or a hook."""
        self._defining = True

    def keep_hooks(self) -> None:
        """Keep what the proxy does in front of the user's own hooks, which may have been defined only now.

        A user's hook-stop needs the variables of the stop, and gdb reports a stop only after it.
        """
        self._defining = False
        hooks.put_first(hooks.calling("look"), "hook-stop", define=False)
        for hook, method in hooks.HOOKS.items():
            hooks.put_first(hooks.calling(method), hook, define=True)
        for command in self._looks:
            hooks.put_first(hooks.NOTICE, hooks.hook_of(command), define=True)

    def notice(self) -> None:
        """Find out whether someone else has changed the guest. If so, show where it is now.

        Nothing is out of date in hook-stop, nor in a trace frame, whose registers do not change.
        """
        thread = gdb.selected_thread()
        if not self._ours or self._stopping or thread is None or thread.is_running():
            return
        if gdb.convenience_variable("trace_frame") not in (None, -1):
            return
        try:
            changed = ask("qArmprobe.changes")
            variables.set_position(ask("qArmprobe.stop"))
        except gdb.GdbError:  # the connection is gone
            return
        if changed:
            self.forget()
        if changed == "registers":
            # A task that sleeps may be selected, which is elsewhere than the CPU.
            what = f"Thread {thread.num}" if len(gdb.selected_inferior().threads()) > 1 else "It"
            gdb.write(f"The guest was changed from outside; what was shown last may be out of date. {what} is now at\n")
            gdb.execute("frame")

    def forget(self) -> None:
        """Make gdb drop its caches of the machine: it assumes registers and stack to be as they were at the stop.

        In hook-stop that is impossible, so it happens at the next prompt or command of ours.
        """
        self._stale = True
        self.refresh()

    def refresh(self) -> None:
        """Drop the caches that `forget` has marked."""
        if self._stale and not self._stopping:
            self._stale = False
            gdb.execute("maintenance flush register-cache", to_string=True)
            gdb.execute("maintenance flush dcache", to_string=True)

    def update(self) -> None:
        """Define the commands of a newly connected machine. Other targets are left alone."""
        connection = gdb.selected_inferior().connection
        thread = gdb.selected_thread()
        if connection is self._connection or (thread is not None and thread.is_running()):
            return
        self._connection, self._ours = connection, False
        if connection is None:
            variables.set_variables(None)
            return
        try:
            table = ask("qArmprobe.commands") if isinstance(connection, gdb.RemoteTargetConnection) else None
        except gdb.GdbError as error:
            gdb.write(f"armprobe's commands are not available: {error}\n", gdb.STDERR)
            return
        self._symbols.update(table is not None)
        if table is not None:
            self._ours = True
            self.packet_size = packet_size()
            self.define(json.loads(table))
            if not self._looks:
                ChangesCommand()
                LineCommand()
                self._looks = [command for command in hooks.LOOKS if hooks.is_command(command)]
                self.keep_hooks()
            self.look()
            self._stopping = False

    def define(self, table: list[dict[str, Any]]) -> None:
        """Define the new commands of a table. gdb's own commands are never replaced."""
        wanted = {entry["gdb_name"]: entry for entry in table if entry["gdb_name"]}
        wanted |= {f"info {entry['gdb_info']}": entry for entry in table if entry.get("gdb_info")}
        # Looked up before any is defined, because one of ours may be an abbreviation of another.
        taken = {name for name in wanted if name not in self._defined and hooks.is_command(name)}
        for name, entry in wanted.items():
            if name in taken:
                gdb.write(f"gdb has a command {name} already: armprobe's is monitor {entry['name']}\n")
            else:
                self._defined[name] = ProxyCommand(entry, name)


# gdb's own language finds this module by its name, whether `gdbinit` or the user has loaded it.
if sys.modules.setdefault(MODULE, sys.modules[__name__]) is sys.modules[__name__] and "PROXY" not in globals():
    PROXY = Proxy()
    PROXY.start()
