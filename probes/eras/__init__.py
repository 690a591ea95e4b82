# SPDX-License-Identifier: GPL-2.0-or-later
"""The rules that each generation of the kernel has for its kprobes."""
