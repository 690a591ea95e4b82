# SPDX-License-Identifier: GPL-2.0-or-later
"""bs and bc: executing backwards (GDB manual, "Packets", "Reverse Execution")."""

from functools import partial

from armprobe.stub.feature import Feature, PacketKind
from armprobe.stub.target import Reverse
from armprobe.stub.wire import nothing


class ReverseExecution(Feature[Reverse]):
    words = ("ReverseStep+", "ReverseContinue+")

    def step(self, _: None) -> None:
        self.connection.run(partial(self.target.resume_backwards, True))

    def go_on(self, _: None) -> None:
        self.connection.run(partial(self.target.resume_backwards, False))

    packets = (PacketKind("bs", nothing, step), PacketKind("bc", nothing, go_on))
