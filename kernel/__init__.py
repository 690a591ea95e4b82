# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest kernel tells of itself in its own memory: its symbols, types, modules, version and code."""
