# SPDX-License-Identifier: GPL-2.0-or-later
"""The C core: the machine's hot paths in C, a plain shared library, and the Python that loads it (docs/native.md)."""
