# SPDX-License-Identifier: GPL-2.0-or-later
"""Renderings of what commands answer with (`commands.values`): text for people, JSON for programs."""
