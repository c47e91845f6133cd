"""The systemd unit of the live page: systemd reads it, and its command exists."""

import shlex
import subprocess

import pytest
from paths import ROOT
from system_programs import require_program

UNIT = ROOT / "unet_edge" / "live" / "unet-edge-live.service"


def settings():
    """The unit's settings, in order, as (name, value)."""
    lines = UNIT.read_text(encoding="utf-8").splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and line[0] != "#"]


def test_the_command_of_the_unit_has_only_options_that_exist():
    from unet_edge.cli.live import live

    (command,) = [value for name, value in settings() if name == "ExecStart"]
    *program, name = shlex.split(command)[:4]
    arguments = shlex.split(command)[4:]
    assert program == ["/opt/unet-edge/venv/bin/python", "-m", "unet_edge"]
    assert name == "live"
    context = live.make_context("live", arguments)
    assert context.params["host"] == "0.0.0.0"
    assert str(context.params["token_file"]).endswith("/token")


def test_the_watchdog_allows_for_what_counts_as_silence():
    from unet_edge.live.status_routes import SILENT_SECONDS

    unit = dict(settings())
    # The server says nothing after SILENT_SECONDS, and speaks twice in the watchdog's time.
    assert float(unit["WatchdogSec"]) > 2 * SILENT_SECONDS
    assert (unit["Type"], unit["DynamicUser"], unit["NoNewPrivileges"]) == ("notify", "yes", "yes")
    assert (unit["ProtectSystem"], unit["PrivateTmp"]) == ("strict", "yes")


@pytest.mark.slow
def test_systemd_finds_no_fault_and_little_exposure(tmp_path):
    analyze = require_program("systemd-analyze", package="systemd")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/unet-edge/venv/bin/python", "/bin/true"))
    checked = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, timeout=60)
    assert (checked.returncode, checked.stderr) == (0, "")
    exposure = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", copy],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert exposure.returncode == 0, exposure.stdout[-500:]  # at most 2.5 of 10; it is 1.8
