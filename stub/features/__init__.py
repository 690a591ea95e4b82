# SPDX-License-Identifier: GPL-2.0-or-later
"""The features, one a file. A new one is its file and its line here."""

from armprobe.stub.feature import Registry

from . import (
    breakpoints,
    control,
    crc,
    description,
    exec_file,
    extended,
    file_io,
    files,
    memory,
    memory_map,
    monitor,
    noack,
    proxy,
    query,
    registers,
    resume,
    search,
    threads,
    trace_frames,
    tracepoints,
    tracing,
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
        file_io,
        registers,
        memory,
        memory_map,
        search,
        crc,
        breakpoints,
        resume,
        threads,
        tracepoints,
        tracing,
        trace_frames,
        control,
        extended,
        monitor,
        proxy,
    )
)
