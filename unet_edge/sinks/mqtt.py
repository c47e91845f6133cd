"""Class shares for an MQTT broker, which Home Assistant finds by itself.

Topics, below the broker's prefix: NAME/state, NAME/availability ("online" or "offline", retained).
A state is JSON, the mean of the frames since the last one: `shares` in %, `rate` in frames a
second, `delay` in ms, `frames`, the last frame's `frame` (index) and `frame_time` (s), `time` and
`model`.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import numpy as np

from unet_edge.errors import ConfigError, StreamError
from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.sinks.home_assistant import discovery_message, discovery_topic
from unet_edge.sinks.mqtt_broker import Broker
from unet_edge.spec import ModelSpec
from unet_edge.system.printable import printable

Notify = Callable[[str], object]
"""Takes a line about the connection, in a thread of its own."""

WAITING = 16
"""The most states that wait for the broker's answer; later ones are dropped and counted."""

_ANSWER = 10  # s until a broker must have answered at the start
_FAREWELL = 3  # s that closing waits for the broker
_KEEPALIVE = 30  # s: a broker that vanishes without a word is noticed after at most twice that
_PAUSES = (1, 60)  # s between attempts to connect again: doubled from the first to the last
_EXPIRY = 60  # s without a state until Home Assistant shows none, or three intervals


def default_name() -> str:
    """The machine's name, as a level of a topic."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname()).strip("-") or "camera"


class MqttSink:
    """Publishes the class shares of segmented frames. A sink.

    `dropped` counts the states that were lost because the broker was away or too slow. The stream
    never waits for the broker, and at most WAITING states are kept for it.
    """

    # QoS 1 for everything: the broker's answers are what bounds the states that wait.
    _qos = 1

    def __init__(
        self,
        broker: Broker,
        spec: ModelSpec,
        *,
        name: str = "",
        version: str = "",
        interval: float = 1.0,
        notify: Notify = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect, and publish the discovery of the classes of `spec`.

        `name` is the level below the broker's prefix, by default the machine's name. A state is
        published at most once in `interval` seconds. A connection that is lost later is made again
        with growing pauses, and `notify` is told. `version` is shown in Home Assistant.

        Raises StreamError when the broker cannot be reached, refuses the login or paho-mqtt is not
        installed, and ConfigError for a name that is no level of a topic, or a negative interval.
        """
        self.name = name or default_name()
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ConfigError(
                f"the name {self.name!r} cannot be part of a topic",
                expected="letters, digits, - and _ can",
                fix="choose another name, with --mqtt-name",
            )
        if not 0 <= interval < math.inf:
            raise ConfigError(
                f"an interval of {interval} s", expected="it must be at least 0 seconds"
            )
        self.dropped = 0
        self._broker, self._spec, self._version = broker, spec, version
        self._interval, self._notify, self._now = interval, notify, now
        self._last: SegmentedFrame | None = None
        self._waiting: deque[Any] = deque()
        self._told_dropped = 0
        self._connected = self._closing = False
        self._refusal = ""
        self._answered = threading.Event()
        self._gone = threading.Event()
        self._begin_mean()
        self._client = self._connect(_paho())

    def write(self, result: SegmentedFrame) -> None:
        """Add a frame to the mean, and publish it if the last one is `interval` seconds old."""
        spec = result.segmenter.spec
        if spec.classes != self._spec.classes:  # the model was changed
            self._publish_state()
            self._spec = spec
            self._begin_mean()
            self._announce()
        self._shares += result.grid.shares()
        self._delay += result.delay
        self._frames += 1
        self._last = result
        if self._now() - self._since >= self._interval:
            self._publish_state()

    def close(self) -> None:
        """Publish what is left of the mean, then "offline", and end the connection."""
        self._publish_state()
        self._closing = True
        with contextlib.suppress(RuntimeError, ValueError):  # the broker is away
            if self._connected:
                offline = self._publish(self._availability, "offline", retain=True)
                offline.wait_for_publish(_FAREWELL)
        self._end()

    # The topics.

    @property
    def _state(self) -> str:
        return f"{self._broker.prefix}/{self.name}/state"

    @property
    def _availability(self) -> str:
        return f"{self._broker.prefix}/{self.name}/availability"

    def _begin_mean(self) -> None:
        self._shares = np.zeros(len(self._spec.classes))
        self._delay, self._frames = 0.0, 0
        self._last = None
        self._since = self._now()

    def _publish_state(self) -> None:
        if self._last is None:
            return
        shares = (100 * self._shares / self._frames).round(4).tolist()
        passed = self._now() - self._since
        state = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "frame": self._last.frame.index,
            "frame_time": round(self._last.frame.time, 3),
            "frames": self._frames,
            "shares": dict(zip(self._spec.classes, shares, strict=True)),
            "rate": round(self._frames / passed, 2) if passed > 0 else None,
            "delay": round(1000 * self._delay / self._frames, 1),
            "model": self._last.segmenter.name,
        }
        self._begin_mean()
        while self._waiting and self._waiting[0].is_published():
            self._waiting.popleft()
        if not self._connected or len(self._waiting) >= WAITING:
            self.dropped += 1
            return
        info = self._publish(self._state, json.dumps(state))
        if info.rc == 0:  # else the connection was just lost, and paho keeps it for the next one
            self._waiting.append(info)

    def _publish(self, topic: str, text: str, *, retain: bool = False) -> Any:
        return self._client.publish(topic, text, self._qos, retain)

    def _announce(self) -> None:
        """Publish discovery and availability: at each connection, for a broker that forgets."""
        config = discovery_message(
            f"unet-edge-{self.name}",
            self.name,
            self._spec.classes,
            version=self._version,
            state_topic=self._state,
            availability_topic=self._availability,
            expire_after=max(_EXPIRY, math.ceil(3 * self._interval)),
        )
        self._publish(discovery_topic(f"unet-edge-{self.name}"), json.dumps(config), retain=True)
        self._publish(self._availability, "online", retain=True)

    def _connect(self, paho: ModuleType) -> Any:
        broker = self._broker
        self._client = client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, f"unet-edge-{secrets.token_hex(4)}"
        )
        client.suppress_exceptions = True  # an error while telling a line must not end its thread
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.reconnect_delay_set(*_PAUSES)
        client.max_queued_messages_set(2 * WAITING)  # states, and the messages of each connection
        client.will_set(self._availability, "offline", self._qos, retain=True)
        if broker.user is not None:
            client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            client.tls_set_context(_tls(broker))
        try:
            client.connect(broker.host, broker.port, _KEEPALIVE)
        except (OSError, ValueError) as error:  # ValueError: a host's name that cannot be encoded
            raise _unreachable(broker, error) from None
        client.loop_start()
        if not self._answered.wait(_ANSWER) or self._refusal:
            self._end()
            if self._refusal:
                raise StreamError(
                    f"{broker} refuses the connection: {self._refusal.lower()}", fix=_login(broker)
                )
            raise StreamError(
                f"{broker} does not answer as an MQTT broker",
                fix="check the port; with TLS it is usually 8883, and the URL begins with mqtts",
            )
        return client

    def _end(self) -> None:
        """End the connection and the network thread, also if the broker takes no byte."""
        was_connected = self._connected
        self._client.disconnect()
        self._gone.wait(_FAREWELL if was_connected else 0)
        # paho waits without end for a broker that takes no byte.
        with contextlib.suppress(OSError, AttributeError):  # the socket is closed already
            self._client.socket().shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()

    # paho calls these in its network thread.

    def _on_connect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if self._closing:  # it connected again at the same moment
            self._client.disconnect()
            return
        self._refusal = str(reason) if reason.is_failure else ""
        first = not self._answered.is_set()
        if not self._refusal:
            self._announce()
            self._connected = True
            self._gone.clear()
            if not first:
                lost = self.dropped - self._told_dropped
                self._told_dropped = self.dropped
                self._notify(f"{self._broker} is back; {lost} states were dropped")
        self._answered.set()

    def _on_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if self._connected and reason.is_failure:
            self._notify(f"{self._broker} is gone; connecting again")
        self._connected = False
        self._gone.set()


def _paho() -> ModuleType:
    try:
        import paho.mqtt.client as paho
    except ImportError:
        raise StreamError(
            "paho-mqtt is not installed", fix="run: pip install 'unet-edge[mqtt]'"
        ) from None
    return paho


def _tls(broker: Broker) -> Any:
    import ssl

    try:
        return ssl.create_default_context(cafile=broker.ca)
    except OSError as error:  # ssl.SSLError is one: the file holds no certificate
        raise ConfigError(
            f"cannot read a certificate in {broker.ca}",
            expected=f"it must be a PEM file ({printable(error)})",
        ) from None


def _unreachable(broker: Broker, error: Exception) -> StreamError:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return StreamError(
            f"the certificate of {broker} is not accepted: {error.verify_message}",
            fix="give the certificate of the authority that signed it, with --mqtt-ca FILE",
        )
    reason = error.strerror if isinstance(error, OSError) else None
    return StreamError(
        f"cannot reach {broker}: {printable(reason or error)}",
        fix="check that it runs, its name and its port",
    )


def _login(broker: Broker) -> str:
    if broker.user is None:
        scheme = "mqtts" if broker.tls else "mqtt"
        return f"name a user: {scheme}://USER@{broker.host}"
    return f"check the user {printable(broker.user)} and the password"
