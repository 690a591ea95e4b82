# SPDX-License-Identifier: GPL-2.0-or-later
"""qXfer:features: the target description (GDB manual, "Target Description Format")."""

from armprobe.stub.feature import Document, Feature
from armprobe.stub.target import Target


class Description(Feature[Target]):
    def read(self, annex: str) -> str | None:
        return self.connection.registers.target_xml if annex == "target.xml" else None

    documents = (Document("features", read, uncontrolled=True),)
