# SPDX-License-Identifier: GPL-2.0-or-later
"""The immediates of all HVC instructions that the machine handles.

Firmware calls use 0. The others are in code that armprobe puts into its own memory, so each handler also checks the
address of the call. No guest is known to use these immediates.
"""

from __future__ import annotations

from typing import Final

PSCI: Final = 0  # SMC Calling Convention (Arm DEN 0028), 2.9
CALL_RETURNED: Final = 0x6361  # a guest function that `Machine.call` called has returned
KRETPROBE_TRAMPOLINE: Final = 0x6B70  # the trampoline `direct` calls the return handlers
JPROBE_ENTRY: Final = 0x6B71  # a jprobe's entry is to be called
SIMULATED_INSTRUCTION: Final = 0x6B73  # executed in place of a simulated instruction
KWORKER: Final = 0x6B77  # a job in a thread of the guest's kernel asks for its next call
