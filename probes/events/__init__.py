# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of tracefs on a machine's probes: the kernel's grammar of kprobe_events, filters and triggers."""
