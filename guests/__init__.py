# SPDX-License-Identifier: GPL-2.0-or-later
"""The guests that armprobe brings: the demo kernel, and a stock Debian kernel that is fetched and booted."""
