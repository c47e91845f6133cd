"""Two processes must not train in one folder."""

import os
import signal
import subprocess
import sys

import pytest

from unet_edge.errors import ConfigError
from unet_edge.training.run_lock import RunLock

HOLD = """
import sys, time
from pathlib import Path
from unet_edge.training.run_lock import RunLock
with RunLock(Path(sys.argv[1])) as lock:
    lock.acquire()
    print("held", flush=True)
    time.sleep(60)
"""


def test_another_process_is_refused_until_the_first_ends_however_it_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with RunLock(tmp_path) as lock, pytest.raises(ConfigError, match="another process is"):
            lock.acquire()
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with RunLock(tmp_path) as lock:
        lock.acquire()
        lock.acquire()  # its own


def test_a_lock_ends_with_its_block(tmp_path):
    for _ in range(2):
        with RunLock(tmp_path) as lock:
            lock.acquire()
