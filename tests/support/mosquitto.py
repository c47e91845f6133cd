"""A real MQTT broker on a free port, and a real subscriber."""

import getpass
import signal
import socket
import subprocess
import threading
import time

import paho.mqtt.client as paho
from system_programs import require_program

PATIENCE = 60  # seconds for anything that a loaded machine may delay


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition):
    """Wait until `condition()` is true, and return its value."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


class Mosquitto:
    """The broker; `lines` are added to its settings."""

    def __init__(self, folder, *lines, anonymous=True):
        self.program = require_program("mosquitto", package="mosquitto")
        self.port = free_port()
        self.settings = folder / f"mosquitto-{self.port}.conf"
        self.settings.write_text(
            "\n".join(
                (
                    f"listener {self.port} 127.0.0.1",
                    f"allow_anonymous {str(anonymous).lower()}",
                    # Root's broker changes to a user who cannot read the test's folder.
                    f"user {getpass.getuser()}",
                    *lines,
                )
            )
        )
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "-c", self.settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._listens)

    def _listens(self):
        assert self.process.poll() is None, "mosquitto ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Subscriber:
    """Collects (topic, text, retained) of every message of a broker."""

    def __init__(self, port, prepare=lambda client: None):
        self.messages = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        subscribed = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = lambda _, __, message: self.messages.append(
            (message.topic, message.payload.decode(), message.retain)
        )
        prepare(self.client)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert subscribed.wait(PATIENCE)

    def texts(self, topic):
        return [text for got, text, _ in list(self.messages) if got == topic]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
