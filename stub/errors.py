# SPDX-License-Identifier: GPL-2.0-or-later
"""The exception of a server that cannot be started."""


class StubError(Exception):
    """A server cannot be started; the text is one sentence that says why and what to do."""


class AddressInUse(StubError):
    """Something listens at the address already."""
