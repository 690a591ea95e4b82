# SPDX-License-Identifier: GPL-2.0-or-later
"""The exception for a user's mistake in a command, under the name that commands know it by."""

from armprobe.session.errors import CommandError, Excerpt

__all__ = ["CommandError", "Excerpt"]
