"""MQTT: what a broker receives, and what becomes of a stream whose broker goes away."""

import gc
import json
import signal
import subprocess
import sys
import threading
from datetime import datetime

import jinja2
import numpy as np
import pytest
from mosquitto import Mosquitto, Subscriber, free_port, wait_for
from paths import SMALL_BUNDLE
from system_programs import require_program

from unet_edge.errors import ConfigError, StreamError
from unet_edge.runtime.segmenter import Segmenter
from unet_edge.runtime.stream import SegmentedStream
from unet_edge.sinks.mqtt import WAITING, MqttSink, default_name
from unet_edge.sinks.mqtt_broker import Broker
from unet_edge.streams.test_pattern import TestPattern

STATE, AVAILABILITY = "unet-edge/porch/state", "unet-edge/porch/availability"
DISCOVERY = "homeassistant/device/unet-edge-porch/config"


@pytest.fixture(scope="module")
def segmenter():
    return Segmenter.open(SMALL_BUNDLE, file="model-float32.onnx", threads=1)


@pytest.fixture(scope="module")
def results(segmenter):
    pattern = TestPattern((90, 60), rate=10, frames=8, is_live=False)
    return list(SegmentedStream(pattern, [segmenter]))


@pytest.fixture
def broker(tmp_path):
    started = Mosquitto(tmp_path)
    yield started
    started.kill()


@pytest.fixture
def subscriber(broker):
    started = Subscriber(broker.port)
    yield started
    started.close()


class Clock:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


def sink_of(broker, segmenter, **settings):
    url = Broker.of_url(f"mqtt://127.0.0.1:{broker.port}")
    return MqttSink(url, segmenter.spec, name="porch", **settings)


def test_a_state_is_the_mean_of_the_masks_of_a_second(broker, subscriber, segmenter, results):
    clock = Clock()
    sink = sink_of(broker, segmenter, now=clock)
    for result in results:  # at 0.4, 0.8, …, 3.2 s
        clock.time += 0.4
        sink.write(result)
    sink.close()
    wait_for(lambda: subscriber.texts(AVAILABILITY)[-1:] == ["offline"])
    states = [json.loads(text) for text in subscriber.texts(STATE)]
    # A second has passed with every third frame; closing publishes the two that are left.
    assert [state["frames"] for state in states] == [3, 3, 2]
    assert [state["frame"] for state in states] == [2, 5, 7]
    assert [state["frame_time"] for state in states] == [0.2, 0.5, 0.7]
    assert [state["rate"] for state in states] == [2.5, 2.5, 2.5]
    assert {state["model"] for state in states} == {"model-float32.onnx"}
    for state, part in zip(states, (results[:3], results[3:6], results[6:]), strict=True):
        assert datetime.fromisoformat(state["time"]).utcoffset().total_seconds() == 0
        shares = [result.mask.coverage() for result in part]
        for name in segmenter.spec.classes:
            mean = 100 * np.mean([share[name] for share in shares])
            # Shares are rounded to 4 decimals.
            assert state["shares"][name] == pytest.approx(mean, abs=0.5e-4 + 1e-9)
        delay = 1000 * np.mean([result.delay for result in part])
        assert state["delay"] == pytest.approx(delay, abs=0.05 + 1e-9)  # 1 decimal
    assert len({state["shares"]["cell"] for state in states}) > 1
    assert sink.dropped == 0


def test_availability_and_discovery_are_retained(broker, subscriber, segmenter):
    sink = sink_of(broker, segmenter, version="1.2.3")
    wait_for(lambda: subscriber.texts(AVAILABILITY) and subscriber.texts(DISCOVERY))
    later = Subscriber(broker.port)
    wait_for(lambda: len(later.messages) == 2)
    retained = {topic: text for topic, text, is_retained in later.messages if is_retained}
    assert retained[AVAILABILITY] == "online"
    config = json.loads(retained[DISCOVERY])
    assert config["device"] == {
        "identifiers": ["unet-edge-porch"],
        "name": "porch",
        "manufacturer": "unet-edge",
        "sw_version": "1.2.3",
    }
    assert config["origin"]["name"] == "unet-edge"
    assert config["state_topic"] == STATE
    assert config["availability_topic"] == AVAILABILITY
    sensors = config["components"]
    assert list(sensors) == ["share-cell", "share-membrane", "rate", "delay"]
    assert all(sensor["platform"] == "sensor" for sensor in sensors.values())
    assert sensors["share-cell"]["unit_of_measurement"] == "%"
    assert sensors["share-cell"]["unique_id"] == "unet-edge-porch-share-cell"
    sink.close()
    later.close()


def test_templates_of_the_discovery_find_the_values_of_a_state(
    broker, subscriber, segmenter, results
):
    sink = sink_of(broker, segmenter)
    sink.write(results[0])
    sink.close()
    wait_for(lambda: subscriber.texts(STATE))
    state = json.loads(subscriber.texts(STATE)[0])
    sensors = json.loads(subscriber.texts(DISCOVERY)[0])["components"]
    values = {
        key: float(jinja2.Template(sensor["value_template"]).render(value_json=state))
        for key, sensor in sensors.items()
    }
    assert values == {
        "share-cell": state["shares"]["cell"],
        "share-membrane": state["shares"]["membrane"],
        "rate": state["rate"],
        "delay": state["delay"],
    }


def test_a_killed_process_is_offline_by_its_last_will(broker, subscriber):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(SMALL_BUNDLE), str(broker.port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "connected\n"
    wait_for(lambda: subscriber.texts(AVAILABILITY) == ["online"])
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    wait_for(lambda: subscriber.texts(AVAILABILITY) == ["online", "offline"])


CHILD = """\
import sys, time
from unet_edge import Segmenter
from unet_edge.sinks.mqtt import MqttSink
from unet_edge.sinks.mqtt_broker import Broker

spec = Segmenter.open(sys.argv[1]).spec
sink = MqttSink(Broker.of_url(f"mqtt://127.0.0.1:{sys.argv[2]}"), spec, name="porch")
print("connected", flush=True)
time.sleep(600)
"""


def test_a_broker_that_goes_away_costs_states_and_not_the_stream(broker, segmenter, results):
    lines = []
    sink = sink_of(broker, segmenter, interval=0, notify=lines.append)
    broker.kill()
    wait_for(lambda: lines)
    for result in results[:5]:
        sink.write(result)
    assert sink.dropped == 5
    broker.start()
    wait_for(lambda: len(lines) == 2)
    assert lines == [
        f"the MQTT broker 127.0.0.1:{broker.port} is gone; connecting again",
        f"the MQTT broker 127.0.0.1:{broker.port} is back; 5 states were dropped",
    ]
    subscriber = Subscriber(broker.port)
    # The new broker knows nothing: discovery and availability are published again.
    wait_for(lambda: subscriber.texts(DISCOVERY) and subscriber.texts(AVAILABILITY) == ["online"])
    sink.write(results[5])
    wait_for(lambda: subscriber.texts(STATE))
    assert json.loads(subscriber.texts(STATE)[0])["frame"] == 5
    assert sink.dropped == 5
    sink.close()
    subscriber.close()


def test_a_broker_that_hangs_holds_up_nobody_and_few_states_wait(
    broker, subscriber, segmenter, results
):
    sink = sink_of(broker, segmenter, interval=0)
    broker.pause()
    try:
        for _ in range(100):
            sink.write(results[0])
        assert sink.dropped == 100 - WAITING
    finally:
        broker.go_on()
    wait_for(lambda: len(subscriber.texts(STATE)) == WAITING)
    broker.pause()
    try:
        threads = threading.active_count()
        sink.close()  # returns, though the broker takes nothing
        assert threading.active_count() == threads - 1
    finally:
        broker.go_on()


def test_closing_while_the_broker_is_away_ends_the_thread(broker, segmenter):
    threads = threading.active_count()
    lines = []
    sink = sink_of(broker, segmenter, notify=lines.append)
    broker.kill()
    wait_for(lambda: lines)
    sink.close()
    assert threading.active_count() == threads


def test_no_broker_at_the_start_is_an_error(segmenter):
    port = free_port()
    with pytest.raises(StreamError, match=rf"cannot reach the MQTT broker 127\.0\.0\.1:{port}"):
        MqttSink(Broker.of_url(f"mqtt://127.0.0.1:{port}"), segmenter.spec)
    with pytest.raises(StreamError, match=r"cannot reach the MQTT broker nowhere\.invalid:1883"):
        MqttSink(Broker.of_url("mqtt://nowhere.invalid"), segmenter.spec)


def test_a_login_is_needed_where_the_broker_asks_for_one(tmp_path, segmenter):
    passwords = tmp_path / "passwords"
    tool = require_program("mosquitto_passwd", package="mosquitto")
    subprocess.run([tool, "-b", "-c", passwords, "camera", "right"], check=True)
    broker = Mosquitto(tmp_path, f"password_file {passwords}", anonymous=False)
    try:
        url = f"mqtt://camera@127.0.0.1:{broker.port}"
        MqttSink(Broker.of_url(url, password="right"), segmenter.spec).close()
        with pytest.raises(StreamError, match=r"check the user camera and the password") as error:
            MqttSink(Broker.of_url(url, password="wrong"), segmenter.spec)
        assert "wrong" not in str(error.value)
        with pytest.raises(StreamError, match=r"name a user: mqtt://USER@127\.0\.0\.1"):
            MqttSink(Broker.of_url(f"mqtt://127.0.0.1:{broker.port}"), segmenter.spec)
    finally:
        broker.kill()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_is_checked_with_the_given_authority(tmp_path, segmenter, results):
    ca, certificate, key = make_certificates(tmp_path)
    broker = Mosquitto(tmp_path, f"certfile {certificate}", f"keyfile {key}")
    url = f"mqtts://localhost:{broker.port}/house/cameras"
    try:
        with pytest.raises(StreamError, match=r"not accepted: .*--mqtt-ca FILE"):
            MqttSink(Broker.of_url(url), segmenter.spec)
        with pytest.raises(ConfigError, match="cannot read a certificate in"):
            MqttSink(Broker.of_url(url, ca=key), segmenter.spec)
        other = url.replace("localhost", "127.0.0.1")
        with pytest.raises(StreamError, match="IP address mismatch"):
            MqttSink(Broker.of_url(other, ca=ca), segmenter.spec)
        subscriber = Subscriber(broker.port, lambda client: _trust(client, ca))
        sink = MqttSink(Broker.of_url(url, ca=ca), segmenter.spec, name="porch")
        sink.write(results[0])
        sink.close()
        wait_for(lambda: subscriber.texts("house/cameras/porch/state"))
        subscriber.close()
    finally:
        broker.kill()
    gc.collect()  # here, where the warning is ignored, and not in another test


def _trust(client, ca):
    client.tls_set(str(ca))
    client.tls_insecure_set(True)  # the subscriber calls the broker 127.0.0.1


def make_certificates(folder):
    """An authority, and a certificate for localhost that it signed: three PEM files."""
    openssl = require_program("openssl", package="openssl")

    def run(*words):
        subprocess.run([openssl, *words], check=True, capture_output=True, cwd=folder)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    run(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=our authority")
    run(*new, "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost")
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    run(
        *("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-out", "certificate.pem", "-extfile", "names"),
    )
    return folder / "ca.pem", folder / "certificate.pem", folder / "key.pem"


def test_a_port_without_a_broker_behind_it_is_an_error(segmenter, monkeypatch):
    import socket

    monkeypatch.setattr("unet_edge.sinks.mqtt._ANSWER", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"mqtt://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StreamError, match="does not answer as an MQTT broker"):
            MqttSink(Broker.of_url(url), segmenter.spec)


def test_names_and_intervals_out_of_range_are_refused(segmenter):
    broker = Broker.of_url("mqtt://127.0.0.1")
    for name in ("a/b", "#", "front door"):
        with pytest.raises(ConfigError, match="cannot be part of a topic"):
            MqttSink(broker, segmenter.spec, name=name)
    with pytest.raises(ConfigError, match="at least 0 seconds"):
        MqttSink(broker, segmenter.spec, interval=-1)
    assert set(default_name()) <= {*"-_", *map(chr, range(48, 58)), *map(chr, range(65, 123))}
