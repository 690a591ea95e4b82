# SPDX-License-Identifier: GPL-2.0-or-later
"""Guest memory for kretprobe instances, in kernels to v5.10 that free them when calls return.

That kfree() caused the bug of 2015, so it is a call of the guest's function. Only a guest that has `kmalloc` and
`kfree` as functions takes part. In other guests (Linux inlines `kmalloc`) instances exist only on the host.
"""

from __future__ import annotations

import contextlib
import errno
from typing import Final

from armprobe.kernel.guest_call import call_uninterrupted
from armprobe.kernel.text import Text
from armprobe.machine import CallNotReturned, Machine, MachineError

from .errors import ProbeError
from .kretprobe import KretprobeInstance

_SIZE: Final = 56  # bytes, struct kretprobe_instance of v4.8 without data
_GFP_KERNEL: Final = 0xCC0


class InstanceMemory:
    """Allocates and frees instances in one machine's guest, if `wanted` and the guest has the functions."""

    def __init__(self, machine: Machine, text: Text, wanted: bool) -> None:
        self._machine = machine
        self._text = text
        self._wanted = wanted

    def allocate(self, instance: KretprobeInstance, data_size: int) -> None:
        """Give `instance` its memory. Raises ProbeError (ENOMEM) when the guest has none."""
        if not self._wanted:
            return
        symbols = self._machine.symbols
        kmalloc, kfree = symbols.get("kmalloc"), symbols.get("kfree")
        # The functions of a guest cannot be called before it has switched its MMU on.
        if kmalloc is None or kfree is None or not self._text.mapped(kmalloc.address):
            return
        try:
            instance.memory = call_uninterrupted(self._machine, "kmalloc", _SIZE + data_size, _GFP_KERNEL)
        except MachineError as error:
            raise ProbeError(errno.ENOMEM, f"the guest cannot allocate an instance where it is now: {error}") from None
        if not instance.memory:
            raise ProbeError(errno.ENOMEM, "the guest's kmalloc has no memory for an instance")

    def free(self, instance: KretprobeInstance) -> None:
        """Free the instance's memory. Raises CallNotReturned when the call stops the machine."""
        if instance.memory:
            memory, instance.memory = instance.memory, 0
            call_uninterrupted(self._machine, "kfree", memory)

    def free_unused(self, instance: KretprobeInstance) -> None:
        """Like `free`, but outside the guest's execution, where nothing can be stopped: the memory may be lost."""
        with contextlib.suppress(CallNotReturned):
            self.free(instance)
