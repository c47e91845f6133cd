"""The .deb files that apt would fetch; unpacked sizes need an emulated machine."""

import pytest

from benchmarks.pi.debs import fetched
from benchmarks.pi.emulator import MIRROR_VARIABLE, EmulationError
from benchmarks.pi.environments import ENVIRONMENTS

BY_NAME = {environment.name: environment for environment in ENVIRONMENTS}
APT_GET = """#!/bin/sh
case "$*" in
*$FAILS*) echo "E: no network" >&2; exit 100 ;;
*update) exit 0 ;;
*python3-numpy*)
    echo "'http://m/l/libblas3_1%3a3-2_arm64.deb' libblas3_1%3a3-2_arm64.deb 91 SHA256:0"
    echo "'http://m/n/python3-numpy_1_arm64.deb' python3-numpy_1_arm64.deb 4701 " ;;
esac
echo "Reading package lists..."
echo "'http://m/p/python3_3_arm64.deb' python3_3_arm64.deb 26000 SHA256:0"
"""


@pytest.fixture
def apt_get(monkeypatch, tmp_path):
    (tmp_path / "apt-get").write_text(APT_GET)
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("FAILS", "no command")
    monkeypatch.setenv(MIRROR_VARIABLE, "http://mirror.invalid/debian")


@pytest.mark.usefixtures("apt_get")
def test_packages_of_a_debian_with_only_python_do_not_count():
    assert fetched(BY_NAME["bookworm-apt"]) == {"libblas3": 91, "python3-numpy": 4701}
    assert fetched(BY_NAME["bookworm-tflite"]) == {}


@pytest.mark.usefixtures("apt_get")
def test_the_error_quotes_apt(monkeypatch):
    monkeypatch.setenv("FAILS", "update")
    with pytest.raises(EmulationError, match=r"update failed: E: no network$"):
        fetched(BY_NAME["bookworm-apt"])
