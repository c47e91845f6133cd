"""The parts of the emulator that need no emulation."""

import pytest

from benchmarks.pi.emulator import CACHE_VARIABLE, MIRROR_VARIABLE, EmulationError, cache, mirror


def test_the_mirror_is_the_variables_or_apts(monkeypatch, tmp_path):
    monkeypatch.setenv(MIRROR_VARIABLE, "http://mirror.invalid/debian")
    assert mirror() == "http://mirror.invalid/debian"
    monkeypatch.delenv(MIRROR_VARIABLE)
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\nprintf '%s\\n' http://a.invalid/debian-security/ $LISTED\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("LISTED", "http://b.invalid/debian/")
    assert mirror() == "http://b.invalid/debian/"
    monkeypatch.setenv("LISTED", "")
    with pytest.raises(EmulationError, match=f"set {MIRROR_VARIABLE}=http"):
        mirror()


def test_the_cache_is_the_variables_or_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache() == tmp_path
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache() == tmp_path / "c" / "unet-edge" / "pi"
