# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock kernel in QEMU, typed at over its serial line."""

import os
import select
import subprocess
import time
from pathlib import Path

from armprobe.guests.linux.debian import PROMPT
from tests.waiting import PATIENCE


def boot(qemu: str, kernel: Path, initrd: Path, commands: list[str]) -> str:
    """The serial console of a boot in QEMU, one of `commands` typed at each prompt; ends when the machine is off."""
    machine = "-M virt,gic-version=2 -cpu cortex-a57 -m 256 -nic none -no-reboot"
    machine += " -display none -monitor none -serial stdio"
    options = ["-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyAMA0 nokaslr panic=-1"]
    command = [qemu, *machine.split(), *options]
    transcript, prompts, deadline = b"", 0, time.monotonic() + PATIENCE
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as machine_process:
        assert machine_process.stdin
        assert machine_process.stdout
        output = machine_process.stdout.fileno()
        try:
            while select.select([output], [], [], deadline - time.monotonic())[0] and (part := os.read(output, 65536)):
                transcript += part
                if transcript.count(PROMPT.encode()) > prompts < len(commands):
                    machine_process.stdin.write(commands[prompts].encode() + b"\n")
                    machine_process.stdin.flush()
                    prompts += 1
        finally:
            machine_process.kill()
    return transcript.decode(errors="replace").replace("\r\n", "\n")
