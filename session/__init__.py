# SPDX-License-Identifier: GPL-2.0-or-later
"""What every front end drives: a machine, its probes, and who is attached."""
