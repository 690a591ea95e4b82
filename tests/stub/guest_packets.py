# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets at random for the demo kernel: most of them good, with what they say made up; the others damaged."""

import json
from collections.abc import Callable
from random import Random

from armprobe.commands import Session
from armprobe.stub.aarch64 import GENERAL, register_table
from tests.stub.client import escaped, framed
from tests.stub.mutation import mutated

_NOT_FOR_FUZZING = {"save", "quit"}  # the one writes files of this computer's, the other ends the session
_ANNEXES = (b"target.xml", b"", b"x", b"1", b"../../etc/passwd")
_EDGES = (0, 1, 3, 4, 8, 0xFFF, 0x1000, 1 << 31, 1 << 63, (1 << 64) - 4, (1 << 64) - 1)
_DEVICES = (0x0800_0000, 0x0801_0000, 0x0900_0000)  # the GIC's and the UART's, physical
_OPCODES = bytes(range(0x02, 0x35))


class Packets:
    """Makes packets for the demo kernel that `session` has."""

    def __init__(self, session: Session, random: Random) -> None:
        self._random = random
        functions = [session.machine.symbols[name] for name in session.machine.symbols.matching("", 10_000)]
        self._functions = [symbol.address for symbol in functions if symbol.kind == "function"]
        self._objects = [symbol.address for symbol in functions if symbol.kind == "object"]
        self._names = [symbol.name for symbol in functions]
        assert len(self._functions) > 100
        assert len(self._objects) > 10
        self._commands = [
            entry["name"]
            for entry in json.loads(session.debug_target.command_table())
            if entry["name"] not in _NOT_FOR_FUZZING
        ]
        self._table = register_table(session.debug_target.system_registers)
        file = session.debug_target.exec_file()
        assert file is not None
        self._file = file.name
        self._documents = [
            b"features",
            b"threads",
            b"memory-map",
            b"exec-file",
            b"traceframe-info",
            b"auxv",
            b"libraries",
        ]
        self._makers: list[tuple[int, Callable[[], bytes]]] = [
            (20, self._memory),
            (10, self._registers),
            (15, self._breakpoint),
            (15, self._tracepoint),
            (8, self._tracing),
            (8, self._resume),
            (6, self._file_io),
            (6, self._transfer),
            (8, self._command),
            (4, self._search),
            (4, self._other),
            (1, self._reset),
            (3, lambda: random.randbytes(random.randrange(1, 60))),
        ]

    def next(self) -> bytes:
        """One packet as bytes to send, whole or not; or a Ctrl-C."""
        random = self._random
        if random.randrange(40) == 0:
            return b"\x03"
        weights, makers = zip(*self._makers, strict=True)
        payload = random.choices(makers, weights)[0]()
        if random.randrange(4) == 0:
            return mutated(random, [payload])
        return framed(escaped(payload))

    def _number(self) -> int:
        random = self._random
        return random.choice((random.choice(_EDGES), random.randrange(64), random.getrandbits(random.randrange(1, 65))))

    def _address(self) -> int:
        random = self._random
        match random.randrange(8):
            case 0:
                return self._number()
            case 1:
                return random.choice(_DEVICES) + random.randrange(0x100)
            case 2:
                return 0x4000_0000 + random.randrange(16 << 20)
            case 3:
                return random.choice(self._objects) + random.randrange(16)
            case 4:
                return 0xFFFF_8000_0020_0000 + random.randrange(2 << 20)
        return random.choice(self._functions) + 4 * random.randrange(4)

    def _memory(self) -> bytes:
        random = self._random
        address, length = self._address(), random.choice((1, 2, 4, 8, 16, 100, 4096, self._number()))
        data = random.randbytes(min(length, 100))
        match random.randrange(6):
            case 0:
                return b"M%x,%x:%b" % (address, len(data), data.hex().encode())
            case 1:
                return b"X%x,%x:%b" % (address, random.choice((len(data), length)), data)
            case 2:
                return b"x%x,%x" % (address, length)
        return b"m%x,%x" % (address, length)

    def _registers(self) -> bytes:
        random = self._random
        n = random.randrange(len(self._table.registers) + 2)
        size = self._table.registers[n].size if n < len(self._table.registers) else 8
        match random.randrange(5):
            case 0:
                return b"g"
            case 1:
                return b"G" + random.randbytes(sum(register.size for register in GENERAL)).hex().encode()
            case 2:
                return b"P%x=%b" % (
                    n,
                    random.randbytes(random.choice((size, size, random.randrange(20)))).hex().encode(),
                )
            case 3:
                return b"P20=" + random.choice(self._functions).to_bytes(8, "little").hex().encode()
        return b"p%x" % n

    def _expression(self) -> bytes:
        """Agent bytecode; a third of it is sound."""
        random = self._random
        match random.randrange(3):
            case 0:
                code = random.randbytes(random.randrange(12))
            case 1:
                code = bytes(random.choice(_OPCODES) for _ in range(random.randrange(12))) + b"\x27"
            case _:
                code = random.choice(
                    (b"\x22\0\x27", b"\x22\1\x27", b"\x26\0\0\x22\7\x0f\x27", b"\x26\0\x1f\x1a\x27", b"\x22\1\x21\0\0")
                )
        return b"X%x,%b" % (len(code), code.hex().encode())

    def _breakpoint(self) -> bytes:
        random = self._random
        kind = random.randrange(6)
        address = self._address() if kind > 1 else random.choice(self._functions) + 4 * random.randrange(3)
        packet = b"%c%d,%x,%x" % (random.choice(b"Zz"), kind, address, random.choice((4, 4, 1, 2, 8, self._number())))
        if random.randrange(3) == 0:
            packet += b";" + self._expression()
        if random.randrange(6) == 0:
            packet += b"cmds:%d,%b" % (random.randrange(2), self._expression())
        return packet

    def _action(self) -> bytes:
        random = self._random
        match random.randrange(4):
            case 0:
                return b"R%x" % self._number()
            case 1:
                return b"M%x,%x,%x" % (random.choice((0, 29, 31, 0xFFFF_FFFF)), self._number(), random.randrange(64))
            case 2:
                return b"M-1,%x,%x" % (self._address(), self._number())
        return self._expression()

    def _tracepoint(self) -> bytes:
        random = self._random
        number, address = random.randrange(1, 6), random.choice(self._functions[:8])
        place = b"%x:%x" % (number, address)
        match random.randrange(6):
            case 0 | 1:
                steps = random.choice((0, 0, 0, 2, 20))
                options = b":" + self._expression() if random.randrange(3) == 0 else b""
                return b"QTDP:%b:%c:%x:%x%b" % (place, random.choice(b"EED"), steps, random.choice((0, 0, 3)), options)
            case 2 | 3:
                return b"QTDP:-%b:%b%b" % (place, random.choice((b"", b"", b"S")), self._action())
            case 4:
                text = random.randbytes(random.randrange(60)).hex().encode()
                return b"QTDPsrc:%b:%b:0:%x:%b" % (place, random.choice((b"at", b"cond", b"cmd")), len(text) // 2, text)
        return b"%b:%b" % (random.choice((b"QTEnable", b"QTDisable", b"qTP")), place)

    def _tracing(self) -> bytes:
        random, n = self._random, self._number()
        return random.choice(
            (
                *(
                    b"QTinit",
                    b"QTStart",
                    b"QTStart",
                    b"QTStart",
                    b"QTStop",
                    b"qTStatus",
                    b"qTfP",
                    b"qTsP",
                    b"qTfV",
                    b"qTsV",
                ),
                *(b"QTFrame:%x" % random.randrange(20), b"QTFrame:-1", b"QTFrame:ffffffff", b"QTFrame:tdp:%x" % n),
                *(b"QTFrame:pc:%x" % self._address(), b"QTFrame:range:%x:%x" % (self._address(), self._address())),
                *(b"qTBuffer:%x,%x" % (n, self._number()), b"QTBuffer:size:%x" % n, b"QTBuffer:circular:%d" % (n & 1)),
                *(b"QTDisconnected:%d" % (n & 1), b"QTDV:%x:%x:0:61" % (random.randrange(9), n), b"qTV:%x" % n),
                *(b"QTNotes:user:61;notes:62;tstop:63", b"QTro:%x,%x" % (self._address(), n), b"qTMinFTPILen"),
            )
        )

    def _resume(self) -> bytes:
        random = self._random
        pc = random.choice(self._functions)
        return random.choice(
            (
                *(b"vCont;c", b"vCont;c:p1.-1", b"c", b"s", b"vCont;s:1;c", b"C05", b"S02", b"?", b"vCont?"),
                *(b"vCont;r%x,%x:1" % (pc, pc + 64), b"c%x" % pc, b"s%x" % self._address()),
            )
        )

    def _file_io(self) -> bytes:
        random, n = self._random, self._number()
        name = (
            random.choice((self._file, self._file, "/etc/passwd", f"{self._file}/../../etc/passwd", "")).encode().hex()
        )
        return random.choice(
            (
                *(b"vFile:open:%b,%x,%x" % (name.encode(), random.choice((0, 0, n)), n), b"vFile:setfs:%d" % (n & 1)),
                *(b"vFile:pread:%x,%x,%x" % (n & 3, random.choice((100, n)), n), b"vFile:close:%x" % (n & 3)),
                *(b"vFile:fstat:%x" % (n & 3), b"vFile:unlink:%b" % name.encode(), b"F%x" % n, b"F-1,2"),
                b"vFile:readlink:%b" % name.encode(),
            )
        )

    def _transfer(self) -> bytes:
        random = self._random
        what, annex = random.choice(self._documents), random.choice(_ANNEXES)
        offset, length = random.choice((0, 0, self._number())), random.choice((0xFFF, self._number()))
        return b"qXfer:%b:read:%b:%x,%x" % (what, annex, offset, length)

    def _command(self) -> bytes:
        random = self._random
        words = [random.choice(self._commands)]
        for _ in range(random.randrange(3)):
            words.append(
                random.choice(
                    (
                        *(random.choice(self._names), f"{self._address():#x}", str(self._number()), "$pc", "$x0+4"),
                        *(
                            "stop=pre",
                            "stop=entry,return",
                            "maxactive=1",
                            "quiet=yes",
                            "files=gdb",
                            "files=none",
                            "'",
                            "*",
                        ),
                    )
                )
            )
        line = " ".join(words).encode()
        kind = random.choice((b"qRcmd,", b"qRcmd,", b"qArmprobe.run:", b"qArmprobe.complete:"))
        return kind + line.hex().encode()

    def _search(self) -> bytes:
        random = self._random
        start, length = self._address(), random.choice((16, 0x1000, self._number()))
        match random.randrange(4):
            case 0:
                return b"qMemoryRegionInfo:%x" % start
            case 1:
                return b"qCRC:%x,%x" % (start, length)
        return b"qSearch:memory:%x;%x;%b" % (start, length, random.randbytes(random.randrange(1, 6)))

    def _other(self) -> bytes:
        return self._random.choice(
            (
                *(
                    b"qSupported:swbreak+;error-message+",
                    b"qC",
                    b"qAttached",
                    b"Hg0",
                    b"Hc-1",
                    b"T1",
                    b"qOffsets",
                    b"!",
                ),
                *(
                    b"qfThreadInfo",
                    b"qsThreadInfo",
                    b"qThreadExtraInfo,1",
                    b"qSymbol::",
                    b"qArmprobe.stop",
                    b"qArmprobe.wait",
                    b"qArmprobe.changes",
                    b"qArmprobe.interrupt",
                    b"vMustReplyEmpty",
                ),
                *(b"qArmprobe.commands", b"vCtrlC", b"bs", b"QNonStop:1"),
            )
        )

    def _reset(self) -> bytes:
        """In these the guest begins anew, or the client leaves it."""
        return self._random.choice((b"vRun;", b"vRun;", b"R00", b"k", b"vKill;1", b"D", b"D;1", b"vAttach;1"))
