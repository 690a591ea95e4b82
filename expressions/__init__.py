# SPDX-License-Identifier: GPL-2.0-or-later
"""The language of conditions and notes, and the bytecode of GDB's agent that it is compiled to."""
