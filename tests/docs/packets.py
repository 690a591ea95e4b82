# SPDX-License-Identifier: GPL-2.0-or-later
"""Which packets the stub serves, from the features it registers: a table of docs/protocol.md."""

from __future__ import annotations

import importlib
import pkgutil

from armprobe.stub import features
from armprobe.stub.feature import Feature
from armprobe.stub.target import Target


def table() -> list[tuple[str, ...]]:
    """A row a feature: its file, its packets and documents, what qSupported says of it, and what it requires."""
    found: list[tuple[str, ...]] = [("feature", "packets", "in qSupported", "requires")]
    for module in sorted(pkgutil.iter_modules(features.__path__), key=lambda each: each.name):
        loaded = importlib.import_module(f"{features.__name__}.{module.name}")
        for feature in vars(loaded).values():
            if isinstance(feature, type) and issubclass(feature, Feature) and feature.__module__ == loaded.__name__:
                served = [f"`{packet.name}`" for packet in feature.packets]
                served += [f"`qXfer:{document.name}:read`" for document in feature.documents]
                words = [*feature.words, *(f"qXfer:{document.name}:read+" for document in feature.documents)]
                required = feature.requires.__module__.rpartition(".")[2], feature.requires.__name__
                needs = "" if feature.requires is Target else f"`{required[0]}.{required[1]}`"
                name = module.name.replace("_", " ")
                found.append((name, " ".join(served), " ".join(f"`{word}`" for word in words), needs))
    return found
