"""Messages to systemd, with a real socket in its place."""

import os
import socket

import pytest

from unet_edge.system.service_notification import notify, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def listening(request, tmp_path, monkeypatch):
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"@unet-edge-{os.getpid()}" if request.param == "abstract" else f"{tmp_path}/notify"
        listening.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        listening.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listening


def test_messages_arrive(listening):
    assert notify("READY=1")
    assert notify("STATUS=running\nWATCHDOG=1")
    assert [listening.recv(100) for _ in range(2)] == [b"READY=1", b"STATUS=running\nWATCHDOG=1"]


@pytest.mark.parametrize("address", [None, "", "relative/path", "/no/such/socket", "@nobody"])
def test_without_systemd_nothing_is_sent(monkeypatch, address):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")


def test_the_watchdog_is_told_twice_in_its_time(monkeypatch):
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert watchdog_interval() == pytest.approx(15)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_interval() == pytest.approx(15)
    monkeypatch.setenv("WATCHDOG_PID", "1")  # of another process
    assert watchdog_interval() is None


@pytest.mark.parametrize("text", ["", "0", "-5", "soon"])
def test_without_a_watchdog_there_is_no_interval(monkeypatch, text):
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", text)
    assert watchdog_interval() is None
