# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's time, which is counted in instructions."""
