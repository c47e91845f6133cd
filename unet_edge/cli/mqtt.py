"""The options of commands that publish class shares to an MQTT broker."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

import unet_edge
from unet_edge.cli.group import need
from unet_edge.cli.options import path_type
from unet_edge.cli.output import print_note
from unet_edge.errors import ConfigError

if TYPE_CHECKING:
    from unet_edge.sinks.mqtt import MqttSink
    from unet_edge.spec import ModelSpec

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class MqttOptions:
    """The values of the options that `mqtt_options` adds; None where not given."""

    mqtt: str | None = None
    name: str | None = None
    interval: float | None = None
    password_file: Path | None = None
    ca: Path | None = None

    def open(self, spec: ModelSpec) -> MqttSink | None:
        """Connect to the broker; None without --mqtt.

        Raises ConfigError for one of the other options without --mqtt, else as MqttSink and Broker
        do.
        """
        if self.mqtt is None:
            for option, value in vars(self).items():
                if value is not None:
                    name = "--mqtt-" + option.replace("_", "-")
                    raise ConfigError(f"{name} is given without --mqtt", fix="add --mqtt URL")
            return None
        need("mqtt", ("paho",))
        from unet_edge.sinks.mqtt import MqttSink
        from unet_edge.sinks.mqtt_broker import Broker, read_password

        password = read_password(self.password_file)
        return MqttSink(
            Broker.of_url(self.mqtt, password=password, ca=self.ca),
            spec,
            name=self.name or "",
            version=unet_edge.__version__,
            interval=1.0 if self.interval is None else self.interval,
            notify=print_note,
        )


def mqtt_options(command: _F) -> _F:
    """Add --mqtt and the options around it; the command takes them as `mqtt`, an MqttOptions."""

    @functools.wraps(command)
    def with_options(
        *args: Any,
        mqtt: str | None,
        mqtt_name: str | None,
        mqtt_interval: float | None,
        mqtt_password_file: Path | None,
        mqtt_ca: Path | None,
        **others: Any,
    ) -> Any:
        options = MqttOptions(mqtt, mqtt_name, mqtt_interval, mqtt_password_file, mqtt_ca)
        return command(*args, mqtt=options, **others)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options  # type: ignore[return-value]  # click keeps the options in an attribute


_OPTIONS = (
    click.option(
        "--mqtt",
        metavar="URL",
        help="Publish class shares to an MQTT broker, which Home Assistant finds: mqtt://broker, "
        "or mqtts://user@broker:8883/prefix with TLS.",
    ),
    click.option(
        "--mqtt-name", metavar="NAME", help="Name of this camera in topics.  [default: the host's]"
    ),
    click.option(
        "--mqtt-interval",
        type=click.FloatRange(0),
        metavar="SECONDS",
        help="Time between two messages, each the mean of its frames.  [default: 1]",
    ),
    click.option(
        "--mqtt-password-file",
        type=path_type(),
        metavar="FILE",
        help="File with the broker's password.  [default: $UNET_EDGE_MQTT_PASSWORD]",
    ),
    click.option(
        "--mqtt-ca",
        type=path_type(),
        metavar="FILE",
        help="Certificate of the authority of a broker with TLS.  [default: the system's]",
    ),
)
