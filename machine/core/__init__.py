# SPDX-License-Identifier: GPL-2.0-or-later
"""One CPU: the engine, its registers, exceptions, stepping, breakpoints and watchpoints, and the loop that runs it."""
