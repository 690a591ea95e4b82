# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that show what probes saw: registers at the stages of a hit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from armprobe.probes import Hit, Stage

from .declaration import Arg, Arguments, Command, Option
from .errors import CommandError
from .registers import registers
from .selection import complete_probe, selected
from .values import HitRegisters, HitStage, StageRegisters

if TYPE_CHECKING:
    from armprobe.session import Session

GROUP = "Probes"


def stage_of(hit: Hit) -> HitStage:
    """The stage of a hit, as a value."""
    return HitStage(hit.probe.kind, hit.probe.name, hit.stage.value, hit.number)


def last_hit(session: Session, word: str | None) -> list[Hit]:
    """The stages, oldest first, of the last hit of a probe (by default of the probe that was hit last)."""
    wanted = None if word is None else [probe for _, probe in selected(session, word)]
    stages = session.kprobes.hits.last_hit(wanted)
    if not stages:
        raise CommandError("no hit is recorded yet: let the guest run with a probe set")
    return stages


def _regs(session: Session, arguments: Arguments) -> HitRegisters:
    return _registers(session, last_hit(session, arguments.probe), arguments.stage)


def _pt_regs(session: Session, arguments: Arguments) -> HitRegisters:
    hit = session.stop.detail
    stages = last_hit(session, None) if not isinstance(hit, Hit) else session.kprobes.hits.stages_to(hit)
    return _registers(session, stages, arguments.stage or stages[-1].stage.value)


def _registers(session: Session, stages: list[Hit], stage: str | None) -> HitRegisters:
    wanted = [hit for hit in stages if stage in (None, hit.stage.value)]
    if not wanted:
        last, had = stages[-1], ", ".join(hit.stage.value for hit in stages)
        raise CommandError(f"hit {last.number} of {last.probe.name} has not recorded the stage {stage}: it has {had}")
    partial = next((hit for hit in wanted if hit.missing), None)
    if partial is not None:
        names = ", ".join(partial.recorded) or "none"
        raise CommandError(
            f"of the registers of {partial.probe.name} only some are recorded ({names}): trace shows them"
        )
    return HitRegisters(StageRegisters(stage_of(hit), registers(session, hit.regs)) for hit in wanted)


COMMANDS = (
    Command(
        "regs",
        "Show pt_regs of the last hit, at each of its stages.",
        (
            Arg(
                "probe", "number or name of a probe (default: the one hit last)", optional=True, complete=complete_probe
            ),
            Option("stage", "show only this stage", choices=tuple(stage.value for stage in Stage)),
        ),
        _regs,
        group=GROUP,
    ),
    Command(
        "pt-regs",
        "Show pt_regs of the hit that the guest is stopped at, or of the last hit.\n"
        "The stage is the one that the guest is at, or an earlier one of the hit.",
        (
            Arg(
                "stage",
                "stage to show (default: the last one of the hit)",
                choices=tuple(stage.value for stage in Stage),
                optional=True,
            ),
        ),
        _pt_regs,
        group=GROUP,
    ),
)
