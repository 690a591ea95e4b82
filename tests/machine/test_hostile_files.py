# SPDX-License-Identifier: GPL-2.0-or-later
"""No file costs more to read than its size allows, or does harm: see `mutants`, which reads them in a process apart.

`make fuzz` reads 10,000 mutants of each format.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machine import mutants

ROOT = Path(__file__).parent.parent.parent
COUNT = 10_000 if "ARMPROBE_FUZZ" in os.environ else 12
SEED = int(os.environ.get("ARMPROBE_SEED", "1"))


@pytest.mark.parametrize("wanted", ["crafted", *mutants.FORMATS])
@pytest.mark.sample
def test_no_file_costs_more_than_its_size_allows(wanted: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", mutants.__name__.removeprefix("armprobe."), wanted, str(COUNT), str(SEED)]
    done = subprocess.run(
        [*command, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"the process died of {tmp_path}/mutant ({done.returncode})"
    said = json.loads(done.stdout)
    print(f"{wanted}: {said}")
    assert set(said["outcomes"]) <= {"accepted", "refused"}
    assert said["longest"][0] <= 1, "of the seconds that it may take"
    assert said["largest"][0] <= 1, "of the bytes that the process may grow by"
