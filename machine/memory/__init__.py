# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine's memory: RAM and devices on one bus, and the guest's own translation of addresses."""
