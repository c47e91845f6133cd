"""What monitoring reads: health, metrics, the description of the interface."""

import math
import os
import re
import socket
import threading

import pytest
from live_server import live_server, wait_until

from unet_edge.live.openapi import description
from unet_edge.streams.test_pattern import TestPattern


@pytest.fixture(scope="module")
def server(bundle_path):
    with live_server(bundle_path) as running:
        wait_until(lambda: running.parts.camera.frames > 5)
        yield running


NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')


def parse(text):
    """The samples of Prometheus' text format 0.0.4, by name and labels; strict."""
    assert text.endswith("\n")
    types, samples, family = {}, {}, None
    for line in text.split("\n")[:-1]:
        if help_line := re.fullmatch(rf"# HELP ({NAME}) .+", line):
            family = help_line[1]
            assert family not in types, "a metric comes once"
            continue
        if type_line := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge|histogram)", line):
            assert type_line[1] == family
            types[family] = type_line[2]
            continue
        name, inside, value = SAMPLE.fullmatch(line).groups()
        base = re.sub(r"_(bucket|sum|count)$", "", name) if types[family] == "histogram" else name
        assert base == family
        labels, position = [], 0
        while inside and position < len(inside):
            label = LABEL.match(inside, position)
            labels.append(label.groups())
            position = label.end()
        key = name, tuple(labels)
        assert key not in samples
        samples[key] = float(value)
    for name, kind in types.items():
        if kind == "counter":
            assert name.endswith("_total")
        if kind == "histogram":
            check_histogram(name, samples)
    return samples


def check_histogram(name, samples):
    series = {}
    for (sample, labels), value in samples.items():
        if sample == f"{name}_bucket":
            bound = float(dict(labels)["le"])
            others = tuple(pair for pair in labels if pair[0] != "le")
            series.setdefault(others, []).append((bound, value))
    assert series
    for labels, buckets in series.items():
        assert buckets == sorted(buckets)
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == (math.inf, samples[f"{name}_count", labels])
        assert samples[f"{name}_sum", labels] >= 0


def test_metrics_are_prometheus_text_and_true(server, bundle_path):
    camera = server.parts.camera
    server.client.post("/api/stream", json={"running": False})
    server.client.get("/healthz")
    server.client.get("/some/path/of/a/stranger")
    picture = (bundle_path / "golden" / "01.png").read_bytes()
    assert server.client.post("/segment", content=picture).status_code == 200
    answer = server.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = parse(answer.text)
    frames = camera.frames
    assert samples["unet_edge_frames_total", ()] == frames
    assert samples["unet_edge_frames_dropped_total", ()] == camera.dropped
    assert samples["unet_edge_frame_delay_seconds_count", ()] == frames
    for stage in ("decode", "place", "infer", "mask"):
        key = "unet_edge_frame_stage_seconds_count", (("stage", stage),)
        assert samples[key] == frames
    assert samples["unet_edge_camera_running", ()] == 0
    requests = "unet_edge_requests_total"
    assert samples[requests, (("path", "/segment"), ("status", "200"))] == 1
    assert samples[requests, (("path", "/healthz"), ("status", "200"))] == 1
    assert samples[requests, (("path", "other"), ("status", "404"))] == 1
    assert "stranger" not in answer.text
    assert samples["unet_edge_segment_seconds_count", ()] == 1
    assert samples["unet_edge_queue_length", ()] == 0
    assert samples["unet_edge_queue_places", ()] == 8
    shares = [samples["unet_edge_class_share", (("class", name),)] for name in ("cell", "membrane")]
    assert sum(shares) == pytest.approx(1)
    assert samples["unet_edge_info", (("version", "1.2.3"),)] == 1
    server.client.post("/api/stream", json={"running": True})


class SilentSource:
    """A camera that hangs after its first frame."""

    name = "silent"
    is_live = True

    def __init__(self):
        self.pattern = TestPattern((32, 24), frames=1)
        self.info = self.pattern.info
        self.end = threading.Event()

    def frames(self):
        yield from self.pattern.frames()
        self.end.wait(60)

    def interrupt(self):
        self.end.set()


def test_a_camera_that_gives_nothing_is_unhealthy_until_it_is_stopped(bundle_path, monkeypatch):
    monkeypatch.setattr("unet_edge.live.status_routes.SILENT_SECONDS", 0.5)
    with live_server(bundle_path, source=lambda _: SilentSource()) as server:
        wait_until(lambda: server.client.get("/healthz").status_code == 503)
        health = server.client.get("/healthz").json()
        assert health == {"status": "failing", "reason": "the camera has given no frame for 0.5 s"}
        server.client.post("/api/stream", json={"running": False})
        assert server.client.get("/healthz").json() == {"status": "ok"}


def test_systemd_is_told_of_frames_and_of_nothing_else(bundle_path, tmp_path, monkeypatch):
    monkeypatch.setattr("unet_edge.live.status_routes.SILENT_SECONDS", 0.5)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(0)

        def received():
            messages = []
            while True:
                try:
                    messages.append(systemd.recv(1000).decode())
                except BlockingIOError:
                    return messages

        with live_server(bundle_path, source=lambda _: SilentSource()) as server:
            said = []
            wait_until(lambda: said.extend(received()) or "WATCHDOG=1" in said)
            assert any(re.match(r"STATUS=(running|stopped)", each) for each in said)
            wait_until(lambda: server.client.get("/healthz").status_code == 503)
            received()
            for _ in range(10):  # each takes longer than the watchdog's interval
                server.client.get("/metrics")
                threading.Event().wait(0.1)
            assert "WATCHDOG=1" not in received()
        assert "STOPPING=1" in received()


def test_the_description_names_the_real_routes(server):
    told = server.client.get("/openapi.json").json()
    assert told == description("1.2.3", with_camera=True)
    assert told["openapi"] == "3.1.0"
    for path, methods in told["paths"].items():
        assert set(methods) <= {"get", "post"}
        for method in ("GET", "POST"):
            answer = server.client.request(method, path, params={"after": -1})
            if method.lower() in methods:
                assert answer.status_code not in (404, 405), (method, path)
                media = answer.headers.get("content-type", "").partition(";")[0]
                responses = methods[method.lower()]["responses"]
                told_media = responses[str(answer.status_code)].get("content", {})
                assert media in told_media, (method, path, answer.status_code, media)
            else:
                assert answer.status_code == 405, (method, path)


def test_every_route_is_described(bundle_path, server):
    from unet_edge.live.live_routes import LiveRoutes
    from unet_edge.live.service_routes import ServiceRoutes
    from unet_edge.live.status_routes import StatusRoutes

    parts = server.parts
    routes = [
        *LiveRoutes(parts.camera, parts.models, None, None, "1").routes(),
        *ServiceRoutes(parts.service).routes(),
        *StatusRoutes(None, parts.service, None, None, None, "1").routes(),
    ]
    described = description("1", with_camera=True)["paths"]
    assert {route.path for route in routes} == set(described)
    alone = description("1", with_camera=False)["paths"]
    assert not [path for path in alone if path.startswith("/api/")]


def test_the_references_of_the_description_exist():
    told = description("1", with_camera=True)
    references = re.findall(r"'\$ref': '#/([^']+)'", str(told))
    assert references
    for reference in references:
        node = told
        for key in reference.split("/"):
            node = node[key]
        assert node
