"""The options of commands that publish to an MQTT broker."""

import json
import signal
import subprocess
import sys

import click
import pytest
from mosquitto import Mosquitto, Subscriber, wait_for
from paths import SMALL_BUNDLE

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


def test_the_live_page_publishes_until_it_is_stopped(tmp_path):
    broker = Mosquitto(tmp_path)
    subscriber = Subscriber(broker.port)
    words = ("live", "pattern:96x64@20", SMALL_BUNDLE, "--port", "0", "--threads", "1")
    mqtt = (f"--mqtt=mqtt://127.0.0.1:{broker.port}/house", "--mqtt-name=porch")
    child = subprocess.Popen(
        [sys.executable, "-m", "unet_edge", *words, *mqtt, "--mqtt-interval", "0.2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len(subscriber.texts("house/porch/state")) >= 3)
        child.send_signal(signal.SIGINT)
        child.wait(60)
        wait_for(lambda: subscriber.texts("house/porch/availability") == ["online", "offline"])
        state = json.loads(subscriber.texts("house/porch/state")[2])
        assert sum(state["shares"].values()) == pytest.approx(100, abs=1e-3)
        assert state["frames"] >= 1
    finally:
        child.kill()
        child.wait()
        subscriber.close()
        broker.kill()


def test_segment_publishes_a_stream_and_writes_no_file_unasked(tmp_path):
    pytest.importorskip("av", reason="streams need PyAV")
    broker = Mosquitto(tmp_path)
    subscriber = Subscriber(broker.port)
    mqtt = ("--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--mqtt-name", "pipe")
    words = (SMALL_BUNDLE, "-", "--frame-size", "8x6", "--pixel-format", "rgb24", "--threads", "1")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "unet_edge", "segment", *words, *mqtt, "--mqtt-interval", "100"],
            input=bytes(8 * 6 * 3 * 5),
            capture_output=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        wait_for(lambda: subscriber.texts("unet-edge/pipe/availability") == ["online", "offline"])
        (state,) = map(json.loads, subscriber.texts("unet-edge/pipe/state"))
        assert (state["frames"], state["frame"]) == (5, 4)
        assert not (tmp_path / "masks").exists()
    finally:
        subscriber.close()
        broker.kill()


@pytest.mark.parametrize("words", [("photo.jpg",), ("clip.mp4",), ("pattern", "-o", "-")])
def test_mqtt_is_for_streams(words, tmp_path):
    (tmp_path / "clip.mp4").touch()
    done = subprocess.run(
        [sys.executable, "-m", "unet_edge", "segment", SMALL_BUNDLE, *words, "--mqtt=mqtt://x"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "--mqtt is" in done.stderr


def test_a_live_page_without_its_broker_ends_with_the_fix(tmp_path):
    words = ("live", "pattern:96x64@20", SMALL_BUNDLE, "--port", "0", "--threads", "1")
    done = subprocess.run(
        [sys.executable, "-m", "unet_edge", *words, "--mqtt", "mqtt://127.0.0.1:1"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "cannot reach the MQTT broker 127.0.0.1:1: Connection refused" in done.stderr
    assert "Traceback" not in done.stderr
