# SPDX-License-Identifier: GPL-2.0-or-later
"""The features, one a file. A new one is its file and its line here."""

from armprobe.stub.feature import Registry

from . import (
    breakpoints,
    control,
    description,
    exec_file,
    files,
    memory,
    monitor,
    noack,
    proxy,
    query,
    registers,
    resume,
    threads,
    transfer,
)

REGISTRY = Registry(
    feature.FEATURE
    for feature in (
        query,
        noack,
        transfer,
        description,
        exec_file,
        files,
        registers,
        memory,
        breakpoints,
        resume,
        threads,
        control,
        monitor,
        proxy,
    )
)
