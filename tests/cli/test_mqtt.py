"""The options of commands that publish to an MQTT broker."""

import json

import click
import pytest
from mosquitto import Mosquitto, Subscriber, wait_for

from unet_edge import __version__
from unet_edge.cli.mqtt import MqttOptions, mqtt_options
from unet_edge.errors import ConfigError
from unet_edge.sinks.mqtt_broker import PASSWORD_VARIABLE
from unet_edge.spec import ModelSpec

SPEC = ModelSpec(8, 8, ("background", "cat"))


def parsed(*words):
    @click.command()
    @click.argument("source")
    @mqtt_options
    def command(source, mqtt):
        return source, mqtt

    return command.main(["camera", *words], standalone_mode=False)


def test_the_options_come_together(tmp_path):
    assert parsed() == ("camera", MqttOptions())
    words = ("--mqtt", "mqtt://broker", "--mqtt-name", "porch", "--mqtt-interval", "5")
    files = ("--mqtt-password-file", str(tmp_path / "p"), "--mqtt-ca", str(tmp_path / "ca"))
    _, options = parsed(*words, *files)
    assert options == MqttOptions("mqtt://broker", "porch", 5.0, tmp_path / "p", tmp_path / "ca")


def test_without_a_broker_nothing_is_opened_and_other_options_are_an_error():
    assert MqttOptions().open(SPEC) is None
    with pytest.raises(ConfigError, match="--mqtt-password-file is given without --mqtt"):
        MqttOptions(password_file="file").open(SPEC)
    with pytest.raises(ConfigError, match="--mqtt-interval is given without --mqtt"):
        MqttOptions(interval=0.0).open(SPEC)


def test_the_broker_is_told_name_version_and_interval(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    broker = Mosquitto(tmp_path)
    try:
        subscriber = Subscriber(broker.port)
        options = MqttOptions(f"mqtt://127.0.0.1:{broker.port}", "porch", interval=100)
        sink = options.open(SPEC)
        topic = "homeassistant/device/unet-edge-porch/config"
        wait_for(lambda: subscriber.texts(topic))
        config = json.loads(subscriber.texts(topic)[0])
        assert config["device"]["sw_version"] == __version__
        assert config["components"]["share-cat"]["expire_after"] == 300  # three intervals
        sink.close()
        subscriber.close()
    finally:
        broker.kill()
