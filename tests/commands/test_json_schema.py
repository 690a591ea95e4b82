# SPDX-License-Identifier: GPL-2.0-or-later
"""The form of `--json` stays compatible with the frozen copy of it, json_schema.json.

After an addition: python -m armprobe.commands.json_reference tests/commands/json_schema.json, which refuses a change
that is not compatible.
"""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from armprobe.commands.catalog import registry
from armprobe.commands.json_reference import incompatible, main, schema

FROZEN = Path(__file__).with_name("json_schema.json")


def frozen() -> dict[str, Any]:
    read: dict[str, Any] = json.loads(FROZEN.read_text())
    return read


def test_nothing_that_programs_rely_on_has_changed() -> None:
    now = schema(registry())
    assert now["version"] == frozen()["version"]
    assert incompatible(frozen(), now) == []


def test_a_field_that_is_gone_is_found() -> None:
    changed = copy.deepcopy(frozen())
    del changed["records"]["ProbeRow"]["hits"]
    assert incompatible(frozen(), changed) == ["ProbeRow.hits is gone"]


@pytest.mark.parametrize("kind", ["string", "number or null", "array of number", "number, with `_hex`"])
def test_a_field_of_another_type_is_found(kind: str) -> None:
    changed = copy.deepcopy(frozen())
    changed["records"]["ProbeRow"]["hits"] = kind
    assert incompatible(frozen(), changed) == [f"ProbeRow.hits was number, and is {kind}"]


def test_a_command_that_is_gone_is_found() -> None:
    changed = copy.deepcopy(frozen())
    del changed["commands"]["probes"]
    assert incompatible(frozen(), changed) == ["probes no longer answers with array of [ProbeRow](#proberow)"]


def test_additions_are_compatible() -> None:
    changed = copy.deepcopy(frozen())
    changed["records"]["ProbeRow"]["colour"] = "string"
    changed["records"]["Paint"] = {"colour": "string"}
    changed["commands"]["paint"] = ["[Paint](#paint)"]
    changed["commands"]["probes"].append("[Paint](#paint)")
    changed["records"]["Changed"]["done"] += ' or "painted"'
    assert incompatible(frozen(), changed) == []
    changed["records"]["Changed"]["done"] = '"enabled" or "removed"'
    assert len(incompatible(frozen(), changed)) == 1


def test_an_incompatible_copy_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = frozen()
    before["records"]["ProbeRow"]["colour"] = "string"
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(before))
    assert main([str(file)]) == 1
    assert "ProbeRow.colour is gone" in capsys.readouterr().err
    assert json.loads(file.read_text()) == before
