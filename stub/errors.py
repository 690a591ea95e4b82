# SPDX-License-Identifier: GPL-2.0-or-later
"""What the stub raises to those who start it."""


class StubError(Exception):
    """A server cannot be started; the text is one sentence that says why and what to do."""
