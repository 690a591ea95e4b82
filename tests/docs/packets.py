# SPDX-License-Identifier: GPL-2.0-or-later
"""Which packets the stub serves, from the features it registers: a table of docs/protocol.md."""

from __future__ import annotations

import importlib
import pkgutil

from armprobe.stub import features
from armprobe.stub.feature import Feature


def table() -> list[tuple[str, ...]]:
    """A row a feature: what it is, its packets and documents, and what qSupported says of it."""
    found: list[tuple[str, ...]] = [("feature", "packets", "in qSupported")]
    for module in sorted(pkgutil.iter_modules(features.__path__), key=lambda each: each.name):
        loaded = importlib.import_module(f"{features.__name__}.{module.name}")
        feature: Feature = loaded.FEATURE
        served = [f"`{packet.name}`" for packet in feature.packets]
        served += [f"`qXfer:{document.name}:read`" for document in feature.documents]
        words = [*feature.words, *(f"qXfer:{document.name}:read+" for document in feature.documents)]
        found.append((module.name.replace("_", " "), " ".join(served), " ".join(f"`{word}`" for word in words)))
    return found
