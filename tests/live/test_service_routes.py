"""POST /segment on a real server: answers, refusals, and the bounds of queue and memory."""

import contextlib
import io
import json
import select
import socket
import threading
import zipfile

import httpx
import numpy as np
import pytest
from live_server import live_server, wait_until
from PIL import Image

from unet_edge.live.service import ServiceSettings
from unet_edge.runtime.segmenter import Segmenter


@pytest.fixture(scope="module")
def server(bundle_path):
    with live_server(bundle_path, source=None) as running:
        yield running


@pytest.fixture(scope="module")
def segmenter(bundle_path):
    return Segmenter.open(bundle_path, threads=1)


@pytest.fixture(scope="module")
def pictures(bundle_path):
    """The golden pictures, and a JPEG of another size that is turned by EXIF."""
    golden = [path.read_bytes() for path in sorted((bundle_path / "golden").glob("??.png"))]
    photo = Image.open(io.BytesIO(golden[0])).resize((301, 170))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", exif=exif)
    return [*golden, buffer.getvalue()]


def labels_of(answer):
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_masks_are_those_of_the_segmenter(server, segmenter, pictures):
    for picture in pictures:
        answer = server.client.post("/segment", content=picture)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["vary"] == "Accept"
        shown = Image.open(io.BytesIO(answer.content))
        assert shown.mode == "P"
        mask = segmenter.segment(picture)
        assert np.array_equal(np.asarray(shown), mask.labels)
        assert shown.getpalette()[:6] == [0, 0, 0, 255, 64, 133]


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("*/*", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("application/json", "application/json"),
        ("application/vnd.coco+json", "application/vnd.coco+json"),
        ("image/png;q=0.2, application/json;q=0.9", "application/json"),
        ("text/html, */*;q=0.1", "image/png"),
        ("image/png;q=0, image/jpeg;q=0.5", "image/jpeg"),
    ],
)
def test_accept_chooses_the_answer(server, pictures, accept, media):
    answer = server.client.post("/segment", content=pictures[0], headers={"Accept": accept})
    assert answer.headers["content-type"] == media


def test_unknown_answers_are_refused(server, pictures):
    html = server.client.post("/segment", content=pictures[0], headers={"Accept": "text/html"})
    assert html.status_code == 406
    assert server.client.post("/segment?output=gif", content=pictures[0]).status_code == 400


def test_json_coco_and_overlay_tell_of_the_mask(server, segmenter, pictures):
    picture = pictures[-1]
    mask = segmenter.segment(picture)
    told = server.client.post("/segment?output=json", content=picture).json()
    assert told["size"] == [170, 301]  # upright
    assert told["shares"] == mask.coverage()
    assert told["model"] == {
        "file": segmenter.name,
        "sha256": segmenter.digest,
        "interpreter": segmenter.backend.name,
    }
    coco = server.client.post("/segment?output=coco", content=picture).json()
    assert coco == json.loads(json.dumps(mask.coco("picture")))
    overlay = server.client.post("/segment?output=overlay", content=picture)
    expected = np.asarray(mask.overlay(picture), float)
    shown = np.asarray(Image.open(io.BytesIO(overlay.content)), float)
    # JPEG at quality 90; the photo without the overlay differs by more than 20.
    assert np.abs(shown - expected).mean() < 4


def test_a_form_of_files_is_answered_for_each(server, segmenter, pictures):
    files = [("file", (f"{number}.png", data)) for number, data in enumerate(pictures)]
    files.insert(1, ("file", ("../../evil", b"no picture")))
    answer = server.client.post("/segment", files=files, headers={"Accept": "application/json"})
    entries = answer.json()["pictures"]
    assert [entry["name"] for entry in entries] == [name for _, (name, _) in files]
    assert [entry["status"] for entry in entries] == [200, 415, 200, 200, 200, 200]
    for entry, (_, (_, data)) in zip(entries, files, strict=True):
        if entry["status"] == 200:
            assert entry["result"]["shares"] == segmenter.segment(data).coverage()


def test_a_form_gives_a_zip_of_masks_whose_names_are_ours(server, segmenter, pictures):
    files = [("file", ("../../evil.png", data)) for data in pictures[:2]]
    answer = server.client.post("/segment?output=mask", files=files)
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["001.mask.png", "002.mask.png", "index.json"]
        for name, picture in zip(archive.namelist()[:2], pictures[:2], strict=True):
            labels = np.asarray(Image.open(archive.open(name)))
            assert np.array_equal(labels, segmenter.segment(picture).labels)
        index = json.loads(archive.read("index.json"))
    assert [entry["file"] for entry in index["pictures"]] == ["001.mask.png", "002.mask.png"]


def picture_bytes(size, mode="RGB", kind="PNG"):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 415),
        (b"text", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", 415),
        (picture_bytes((64, 64))[:60], 422),
        (picture_bytes((9000, 9000), "1"), 422),  # 81 megapixels in 10 kB
    ],
)
def test_what_is_no_picture_is_refused(server, body, status):
    answer = server.client.post("/segment", content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("multipart/form-data", b"--x\r\n\r\n--x--", 422),
        ("multipart/form-data; boundary=x", b"", 422),
        ("multipart/form-data; boundary=x", b"no boundary", 422),
        ("multipart/form-data; boundary=x", b"--x\r\nA: b\r\n\r\nc\r\n--x--\r\n", 422),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; filename="a"\r\n\r\nunfinished',
            422,
        ),
        ("multipart/form-data; boundary=x", b"--x\r\nA: " + b"b" * 9000 + b"\r\n\r\n", 422),
        (
            "multipart/form-data; boundary=x",
            b"".join(b"--x\r\nA: b\r\n\r\nc\r\n" for _ in range(100)) + b"--x--\r\n",
            413,
        ),
        ("multipart/form-data; boundary=" + "x" * 9000, b"", 422),
    ],
)
def test_a_damaged_form_is_refused(server, content_type, body, status):
    answer = server.client.post("/segment", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status, answer.text


def test_a_large_upload_is_refused_before_it_is_read(bundle_path):
    settings = ServiceSettings(max_upload=1000)
    with live_server(bundle_path, source=None, settings=settings) as server:
        assert server.client.post("/segment", content=b"x" * 1001).status_code == 413

        def chunks():
            for _ in range(20):
                yield b"x" * 100

        assert server.client.post("/segment", content=chunks()).status_code == 413
        told = b"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(told % 2000)  # and no byte of the body
            assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_uploads_together_have_bounded_memory(bundle_path):
    settings = ServiceSettings(max_upload=1000)  # 4000 bytes for all
    head = b"POST /segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with (
        live_server(bundle_path, source=None, settings=settings) as server,
        contextlib.ExitStack() as stack,
    ):
        uploads = []
        for _ in range(5):
            upload = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            uploads.append(stack.enter_context(upload))
            upload.sendall(head + b"x" * 900)
        refused, _, _ = select.select(uploads, [], [], 30)
        assert len(refused) == 1
        answer = refused[0].recv(10_000)
        assert answer.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1" in answer.lower()
        stack.close()  # the others leave, and free their memory
        full = b"x" * 1000
        wait_until(lambda: server.client.post("/segment", content=full).status_code == 415)


class Gate:
    """Opens segmenters whose work waits until the gate is opened."""

    def __init__(self, bundle):
        self.bundle, self.opened = bundle, threading.Event()
        self.working = 0

    def open_segmenter(self):
        segmenter = Segmenter.open(self.bundle, threads=1)
        inner = segmenter.segment

        def segment(image):
            self.working += 1
            assert self.opened.wait(60)
            return inner(image)

        segmenter.segment = segment
        return segmenter


def test_a_full_queue_is_told_at_once_and_those_in_it_are_served(bundle_path, pictures):
    gate = Gate(bundle_path)
    settings = ServiceSettings(queue=3, workers=1)
    with live_server(
        bundle_path, source=None, settings=settings, open_segmenter=gate.open_segmenter
    ) as server:
        answers = []
        service = server.parts.service

        def post():
            answers.append(httpx.post(f"{server.url}/segment", content=pictures[0], timeout=60))

        def begin():
            thread = threading.Thread(target=post)
            thread.start()
            return thread

        threads = [begin()]
        wait_until(lambda: gate.working == 1)
        for waiting in (1, 2, 3):
            threads.append(begin())
            wait_until(lambda waiting=waiting: service.waiting == waiting)
        refused = server.client.post("/segment", content=pictures[0])
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert "queue is full" in refused.json()["error"]
        assert server.client.get("/healthz").status_code == 200  # others are served
        gate.opened.set()
        for thread in threads:
            thread.join(60)
        assert [answer.status_code for answer in answers] == [200] * 4
        assert len({answer.content for answer in answers}) == 1
        assert service.waiting == 0
        assert server.client.post("/segment", content=pictures[0]).status_code == 200


def test_a_client_that_leaves_frees_its_place(bundle_path, pictures):
    gate = Gate(bundle_path)
    with live_server(
        bundle_path,
        source=None,
        settings=ServiceSettings(queue=1),
        open_segmenter=gate.open_segmenter,
    ) as server:
        service = server.parts.service
        first = threading.Thread(
            target=lambda: httpx.post(f"{server.url}/segment", content=pictures[0], timeout=60)
        )
        first.start()
        wait_until(lambda: gate.working == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/segment", content=pictures[0], timeout=0.5)
        wait_until(lambda: service.waiting == 0)
        gate.opened.set()
        first.join(60)
        assert gate.working == 1  # what was left is not computed
        assert server.client.post("/segment", content=pictures[0]).status_code == 200


def test_the_pictures_of_a_form_are_left_when_its_client_leaves(bundle_path, pictures):
    gate = Gate(bundle_path)
    with live_server(bundle_path, source=None, open_segmenter=gate.open_segmenter) as server:
        service = server.parts.service
        service.open_now()
        files = [("file", (f"{number}.png", data)) for number, data in enumerate(pictures)]
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/segment", files=files, timeout=1)
        wait_until(lambda: gate.working == 1)
        left = 'unet_edge_requests_total{path="/segment",status="400"} 1'
        wait_until(lambda: left in server.client.get("/metrics").text)
        gate.opened.set()
        wait_until(lambda: service.jobs == 1)
        assert gate.working == 1  # of five pictures


def test_two_workers_segment_at_once_with_models_of_their_own(bundle_path, segmenter, pictures):
    opened = []

    def open_segmenter():
        opened.append(Segmenter.open(bundle_path, threads=1))
        return opened[-1]

    settings = ServiceSettings(queue=50, workers=2)
    with live_server(
        bundle_path, source=None, settings=settings, open_segmenter=open_segmenter
    ) as server:
        answers = {}

        def post(number):
            picture = pictures[number % len(pictures)]
            answers[number] = httpx.post(f"{server.url}/segment", content=picture, timeout=60)

        threads = [threading.Thread(target=post, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    masks = [segmenter.segment(picture).labels for picture in pictures]
    assert len(answers) == 20
    for number, answer in answers.items():
        assert np.array_equal(labels_of(answer), masks[number % len(masks)])
    assert len(opened) == 2
