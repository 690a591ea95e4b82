# SPDX-License-Identifier: GPL-2.0-or-later
"""What a batch of the demo kernel's workload must come to, computed from what its functions are for.

A second implementation: sets and sorted lists stand for trees and sorting, closed forms for the
recursions, zlib for the digests, Python's own formatting for snprintf. The kernel's BATCH_CHECKSUM
comes from here.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

EFAULT, E2BIG, ENOSYS = 14, 7, 38
M32, M64 = 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF
FIBONACCI = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34]


def fnv1a(data: bytes) -> int:
    """The 32-bit FNV-1a hash of data (draft-eastlake-fnv)."""
    value = 0x811C9DC5
    for byte in data:
        value = (value ^ byte) * 0x01000193 & M32
    return value


def little_endian(words: list[int]) -> bytes:
    """The bytes of 32-bit words as the kernel has them in memory."""
    return b"".join(word.to_bytes(4, "little") for word in words)


@dataclass
class Batch:
    """One batch: its random numbers, its checksum so far, and what its rounds count."""

    state: int = 0x12345678
    checksum: int = 0
    locked: int = 0
    atomic: int = 0

    def random(self) -> int:
        """The next number of Marsaglia's xorshift32 (13, 17, 5)."""
        x = self.state
        x ^= x << 13 & M32
        x ^= x >> 17
        x ^= x << 5 & M32
        self.state = x
        return x

    def mix(self, value: int) -> None:
        """Fold one value, as a 64-bit one, into the checksum."""
        mixed = (self.checksum ^ (value & M64)) * 0x100000001B3 & M64
        self.checksum = mixed ^ mixed >> 29

    def slab(self) -> None:
        """An object has the least power of two, from 16, that holds it; its first byte is what was set."""
        sizes = [1 + self.random() % 700 for _ in range(24)]
        for n in (i * 7 % 24 for i in range(24)):
            self.mix(max(16, 1 << (sizes[n] - 1).bit_length()))
            self.mix(n + 1)

    def list(self) -> None:
        """Even keys come out last in first out, then odd ones first in first out."""
        keys = [self.random() for _ in range(12)]
        self.mix(len(keys))
        for key in [k for k in reversed(keys) if k % 2 == 0] + [k for k in keys if k % 2]:
            self.mix(key)

    def tree(self) -> None:
        """The distinct keys in order; again without those that came at an even place."""
        first_place: dict[int, int] = {}
        for place in range(16):
            first_place.setdefault(self.random() & 0xFF, place)
        for key in sorted(first_place):
            self.mix(key)
        for key in sorted(key for key, place in first_place.items() if place % 2):
            self.mix(key)

    def string(self, number: int) -> None:
        """The line that snprintf makes, and what the string functions say of it."""
        value = self.random()
        line = b"round %d: %08x %d" % (number, value, -(value % 1000))
        self.mix(len(line))
        self.mix(fnv1a(line))
        self.mix(-E2BIG)
        self.mix(line.index(b":"))
        self.mix(zlib.crc32(line[:3] + line))

    def sort(self) -> None:
        """Sorted."""
        for value in sorted(self.random() for _ in range(24)):
            self.mix(value)

    def recursion(self, number: int) -> None:
        """Fibonacci numbers; 2^n - 1 moves; Ackermann's function for m = 2 is 2 n + 3."""
        self.mix(FIBONACCI[4 + number % 5])
        self.mix(2 ** (2 + number % 4) - 1)
        self.mix(2 * (number % 3) + 3)

    def digest(self) -> None:
        """Standard digests, and three mixtures of the kernel's own."""
        words = [self.random() for _ in range(8)]
        data = little_endian(words)
        self.mix(zlib.crc32(data))
        self.mix(zlib.adler32(data))
        self.mix(fnv1a(data))
        total = 0
        for word in words:
            total = ((total ^ word) * 0x9E3779B1 + (total >> 3)) & M32
        self.mix(total)
        self.mix(words[0] * 31 + words[1])
        self.mix(words[2] * 37 + words[3])

    def lock(self) -> None:
        """Four turns, adding 1, 0 to 3, and 1."""
        self.locked += 4
        self.atomic += 0 + 1 + 2 + 3
        self.mix(self.locked)
        self.mix(self.atomic)
        self.mix(self.locked)

    def pcrel(self) -> None:
        """The results that the comments in pcrel.S promise."""
        x = self.random()
        self.mix(0x0123456789ABCDEF)
        self.mix(0xFEDCBA9876543210)
        self.mix(0x1122334455667788)
        self.mix(0x89ABCDEF)
        self.mix(0x89ABCDEF - (1 << 32))
        self.mix(x + 1)
        self.mix(3 * x + 1)
        self.mix(max(x, 0x80000000))
        self.mix(1 if x & 1 else 2)
        self.mix(4 if x & 2 else 3)
        self.mix(5 if x << 24 & 1 << 33 else 6)
        self.mix(8 if x & 8 else 7)
        self.mix(x)
        self.mix(3 * x)
        self.mix(3 * x + 2)
        self.mix(4)

    def insn(self) -> None:
        """No exception is masked; the others return their argument."""
        for value in range(5):
            self.mix(value)

    def uaccess(self) -> None:
        """Copied; -EFAULT; none of four bytes copied, twice: a kernel address is not the task's to read."""
        self.random()
        for value in (0, -EFAULT, 4, 4):
            self.mix(value)

    def task(self, number: int) -> None:
        """What the task wrote and did not read back."""
        line = b"pid 1 pass %d bad -%d none -%d read 5" % (number, EFAULT, ENOSYS)
        self.mix(len(line))
        self.mix(zlib.crc32(line))


def batch_checksum(rounds: int) -> int:
    """The 64-bit checksum of a batch of so many rounds."""
    batch = Batch()
    for number in range(rounds):
        batch.slab()
        batch.list()
        batch.tree()
        batch.string(number)
        batch.sort()
        batch.recursion(number)
        batch.digest()
        batch.lock()
        batch.pcrel()
        batch.insn()
        batch.uaccess()
        batch.task(number)
    return batch.checksum


def test_the_kernel_expects_what_the_model_computes(constant: Callable[[str], int]) -> None:
    """If the workload was changed on purpose, the model's number goes into workload.h."""
    assert f"{constant('BATCH_CHECKSUM'):#018x}" == f"{batch_checksum(constant('ROUNDS_PER_BATCH')):#018x}"
