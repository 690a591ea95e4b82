# SPDX-License-Identifier: GPL-2.0-or-later
"""The exception by which a command reports its user's mistake, under the name that commands know it by."""

from armprobe.session.errors import CommandError

__all__ = ["CommandError"]
