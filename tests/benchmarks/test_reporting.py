"""The reports of the campaigns."""

import json

from benchmarks.reporting import named, table, write_report

MACHINE = {"model": "AMD EPYC (7th)", "cores": 2}


def test_files_are_named_by_machine_and_campaign(tmp_path):
    assert named(tmp_path, MACHINE, "peers") == tmp_path / "amd-epyc-7th-2-cores-peers"
    assert named(tmp_path, MACHINE) == tmp_path / "amd-epyc-7th-2-cores"


def test_nan_becomes_null_in_json(tmp_path):
    write_report(tmp_path / "report", {"ms": float("nan"), "runs": 3}, "# Report\n")
    assert json.loads((tmp_path / "report.json").read_text()) == {"ms": None, "runs": 3}
    assert (tmp_path / "report.md").read_text() == "# Report\n"


def test_cells_keep_their_digits():
    row = table([("cats", "79.20")], ["data", "mIoU"]).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["cats", "79.20"]
