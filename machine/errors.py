# SPDX-License-Identifier: GPL-2.0-or-later
"""The error every part of the machine raises for something its user can put right."""


class MachineError(Exception):
    """A guest, a file or an address is wrong; the message is one sentence that says what is, and what to do."""
