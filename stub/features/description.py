# SPDX-License-Identifier: GPL-2.0-or-later
"""qXfer:features: the target description (GDB manual, "Target Description Format")."""

from armprobe.stub.connection import Connection
from armprobe.stub.feature import Document, Feature


def _read(connection: Connection, annex: str) -> str | None:
    return connection.registers.target_xml if annex == "target.xml" else None


FEATURE = Feature(documents=(Document("features", _read),))
