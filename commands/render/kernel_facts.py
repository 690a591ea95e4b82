# SPDX-License-Identifier: GPL-2.0-or-later
"""Text of what is known of a kernel that has not been booted."""

from __future__ import annotations

from typing import Final

from armprobe.kernel.kernel_facts import KernelFacts

from .text import as_text

_ANSWERS: Final = {True: "yes", False: "no", None: "unknown"}


@as_text.register(KernelFacts)
def _(value: KernelFacts) -> str:
    rows = [("file", value.file)]
    if value.format:
        rows += [
            ("format", f"{value.format} ({value.compression})" if value.compression else value.format),
            ("version", value.version or "the kernel has no banner that says"),
            ("pages", f"{value.page_size} KiB" if value.page_size else "the header does not say"),
            ("size", f"{value.image_size:,} bytes"),
        ]
        rows += [(each.what, f"{_ANSWERS[each.known]}: {each.detail}") for each in value.findings]
    rows.append(("boots", "yes" if value.bootable else f"no: {value.reason}"))
    return "".join(f"{name:<18} {said}\n" for name, said in rows)
