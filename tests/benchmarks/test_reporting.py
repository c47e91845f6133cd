"""The reports of the campaigns."""

import json
from datetime import date

from benchmarks.index import index_text
from benchmarks.reporting import REFERENCE, named, table, write_report

MACHINE = {"model": "AMD EPYC (7th)", "cores": 2}


def test_files_are_named_by_machine_and_campaign(tmp_path):
    assert named(tmp_path, MACHINE, "peers") == tmp_path / "amd-epyc-7th-2-cores" / "peers"


def test_nan_becomes_null_in_json(tmp_path):
    write_report(tmp_path / "m" / "report", {"ms": float("nan"), "runs": 3}, "# Report\n")
    report = json.loads((tmp_path / "m" / "report.json").read_text())
    assert date.fromisoformat(report.pop("made")) <= date.today()
    assert report == {"ms": None, "runs": 3}
    assert (tmp_path / "m" / "report.md").read_text() == "# Report\n"
    assert not (tmp_path / "index.md").exists()  # which is for the committed reports only


def test_an_index_names_each_report_with_its_command_and_date(tmp_path):
    page = "# Peers\n\nMade by `python -m benchmarks.peers`, which describes them.\n"
    write_report(tmp_path / "intel-r-xeon-r-processor-4-cores" / "peers", {}, page)
    write_report(tmp_path / "emulated" / "pi", {}, "# Boards\n")
    text = index_text(tmp_path)
    assert text.index("## Emulated processors") < text.index("## Intel Xeon processor, 4 cores")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    today = f"{date.today():%Y-%m-%d}"
    assert ["[Boards](emulated/pi.md)", "", today] in rows
    assert [
        "[Peers](intel-r-xeon-r-processor-4-cores/peers.md)", "`python -m benchmarks.peers`", today,
    ] in rows  # fmt: skip


def test_the_committed_index_is_that_of_the_committed_reports():
    assert (REFERENCE / "index.md").read_text() == index_text(REFERENCE)


def test_cells_keep_their_digits():
    row = table([("cats", "79.20")], ["data", "mIoU"]).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["cats", "79.20"]
