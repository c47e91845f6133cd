from __future__ import annotations

import base64
import csv
import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from made_up_benchmarks import CALM, scores
from PIL import Image
from sealing import seal_manifest

from unet_edge.benchmarking.chart import pareto_front
from unet_edge.benchmarking.csv_table import csv_table, is_csv_table
from unet_edge.benchmarking.html_report import report_html
from unet_edge.benchmarking.measurement import measure_bundle
from unet_edge.benchmarking.results import BenchmarkResult, Measurement, ModelResult, Round
from unet_edge.benchmarking.sustained import Sample, Sustained
from unet_edge.benchmarking.tables import conditions, cost_rows, stage_rows, tables, warnings
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import Choice, GoldenPicture
from unet_edge.bundle.writing import write_bundle
from unet_edge.masks.mask import Mask
from unet_edge.runtime.segmenter import STAGES, Segmenter
from unet_edge.system.files import sha256


class Page(HTMLParser):
    """The page as a browser reads it: elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def pictures(self) -> dict[str, Image.Image]:
        """The last picture of each alternative text."""
        pictures = {}
        for image in self.all("img"):
            data = image["src"].removeprefix("data:image/jpeg;base64,")
            pictures[image["alt"]] = Image.open(io.BytesIO(base64.b64decode(data)))
        return pictures


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return Bundle.open(bundle_path)


@pytest.fixture(scope="module")
def result(bundle: Bundle) -> BenchmarkResult:
    return measure_bundle(bundle, runs=2, rounds=1, threads=1)


def failed(name: str, error: str) -> ModelResult:
    return ModelResult(name, "onnx", "float32", 999, "0", 0.99, 0.9, None, None, error)


def row(
    name: str, file_format: str, total: float, agreement: float, floor: float | None
) -> ModelResult:
    stages = {stage: dict.fromkeys(("p50", "p90", "p99", "min"), total / 5) for stage in STAGES}
    stages["total"] = {"p50": total, "p90": total * 1.5, "p99": total * 2, "min": total / 2}
    rounds = tuple(
        Round(45.6, 50, {stage: factor * each["p50"] for stage, each in stages.items()}, (total,))
        for factor in (0.98, 1.0, 1.02)
    )
    cost = Measurement("some 1.0", 2, 45.6, stages, 61.7, scores(agreement, 0.98765), None, rounds)
    return ModelResult(name, file_format, "int8", 1_234_567, "0", floor, 0.99876, 0.81234, cost)


@pytest.fixture
def fixed() -> BenchmarkResult:
    return BenchmarkResult(
        model="cells",
        height=96,
        width=96,
        date="2025-01-02",
        macs=None,
        instructions=("NEON", "dotprod"),
        matrix_kernel=None,
        machine={
            "model": "Pi 5", "architecture": "aarch64", "int8": "ARM with dotprod",
            "cores": 4, "memory_gib": 7.9,
            "system": "Linux", "python": "3.11", "numpy": "2",
        },
        gemm_before_ms=10,
        gemm_after_ms=10,
        threads=(2,),
        runs=10,
        rounds=3,
        pictures=8,
        pictures_sha256="0" * 64,
        sizes=("640x480",),
        conditions=(CALM,) * 4,
        void=(),
        environment={},
        keras=row("model.keras", "keras", 250, 1.0, None),
        files=(
            row("a.tflite", "tflite", 12.345, 0.999999, 0.995),
            row("b.onnx", "onnx", 40, 0.98, 0.99),
            failed("c.onnx", "no <interpreter>"),
        ),
    )  # fmt: skip


def test_rows_have_the_figures(fixed: BenchmarkResult) -> None:
    keras, first, under, broken = cost_rows(fixed)
    # The logarithms of 0.98, 1 and 1.02 deviate by 0.02000; half the interval is 4.303 (Student's t
    # for two degrees of freedom) * 0.02 / sqrt(3), 0.0497, whose exponential is 1.051.
    assert keras[:8] == ["model.keras", "1.23", "45.6", "250", "5.1", "375", "500", "50.0"]
    # Boundary and worst are those of `scores`; the result has no number of operations.
    assert keras[8:14] == ["–", "62", "100", "99.000", "99.000", "99.876"]
    assert keras[14:] == ["0.9877", "0.8123", "1.00", "1.00"]
    # 0.999999 is cut to 99.999: only masks that agree in every pixel have 100.
    assert first[3:11] == ["12.3", "5.1", "18.5", "24.7", "2.47", "–", "62", "99.999"]
    assert first[16:] == ["20.3", "20.3"]
    assert under[10] == "98.000 !"
    assert broken == ["c.onnx", "0.00", *["–"] * 11, "90.000", *["–"] * 4]
    assert stage_rows(fixed)[1] == ["a.tflite", *["2.47 / 2.47 / 2.47"] * 5]
    assert len(stage_rows(fixed)) == 3


def test_warnings_name_failures_missed_floors_and_unsteady_speed(fixed: BenchmarkResult) -> None:
    assert warnings(fixed) == [
        "c.onnx did not run: no <interpreter>",
        "b.onnx is UNDER ITS FLOOR on Pi 5 (ARM with dotprod): 98.000 % of pixels as Keras, "
        "but the floor is 99.000 %",
    ]
    slow = dataclasses.replace(CALM, core_ms=4.2)
    noisy = dataclasses.replace(fixed, files=(), conditions=(CALM, slow))
    assert "the same work took 3.00 to 4.20 ms)" in warnings(noisy)[0]
    hot = dataclasses.replace(CALM, throttling=("throttled now",))
    always = dataclasses.replace(fixed, files=(), conditions=(hot,) * 4)
    assert "3.00 to 3.00 ms; it says: throttled now)" in warnings(always)[0]
    busy = dataclasses.replace(CALM, others=0.4)
    disturbed = dataclasses.replace(
        fixed, files=(), conditions=(CALM, slow, busy, CALM), void=(0, 1)
    )
    assert warnings(disturbed) == [
        "the machine was throttled or slower in rounds 1, 2 of 3, which counts in no time",
        "other programs used up to 0.4 processors meanwhile: measure again when nothing else runs",
    ]


def test_a_narrow_terminal_gets_fewer_columns(fixed: BenchmarkResult) -> None:
    def tables_of(text: str) -> list[list[str]]:
        return [part.splitlines() for part in text.split("\n\n")[:2]]

    def headers(table: list[str]) -> list[str]:
        return re.split(r"  +", table[0].strip())

    cost, stages = tables_of(tables(fixed))
    assert max(map(len, cost)) > 140
    narrow = tables(fixed, width=100)
    few, few_stages = tables_of(narrow)
    assert max(map(len, few + few_stages)) <= 100
    assert {"file", "MB", "p50 ms", "infer ms", "peak MiB", "agreement %"} <= set(headers(few))
    missing = [name for name in headers(cost) if name not in headers(few)]
    missing += [name for name in headers(stages) if name not in headers(few_stages)]
    last = narrow.splitlines()[-1]
    said = "- columns left out to fit the terminal (-o and --json have them): "
    # Those without any figure first.
    assert last.startswith(f"{said}of limit %, infer × Keras, ")
    assert set(last.partition(": ")[2].split(", ")) == set(missing)
    # The cells stay below their headers.
    p50 = headers(few).index("p50 ms")
    assert [re.split(r"  +", line.strip())[p50] for line in few[2:5]] == ["250", "12.3", "40.0"]
    assert tables(fixed, width=400) == tables(fixed)
    # Without Keras, its columns have no figures and go first.
    alone = dataclasses.replace(fixed, keras=dataclasses.replace(fixed.keras, cost=None))
    width = max(map(len, tables_of(tables(alone))[0])) - len("    infer × Keras") - 1
    assert tables(alone, width=width).splitlines()[-1] == (f"{said}of limit %, infer × Keras")


def test_tables_as_text_and_as_markdown(fixed: BenchmarkResult) -> None:
    plain, markdown = tables(fixed), tables(fixed, "github")
    assert "did not run: no <interpreter>" in plain
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == (2 + 4) + (2 + 3)
    assert len({line.count("|") for line in lines[:6]}) == 1


def test_tables_where_every_file_failed(fixed: BenchmarkResult) -> None:
    keras = dataclasses.replace(fixed.keras, cost=None)
    failed = dataclasses.replace(fixed, keras=keras, files=fixed.files[2:])
    assert "decode" not in tables(failed).split("- c.onnx")[0]


def test_the_page_has_no_external_resources(result: BenchmarkResult, bundle: Bundle) -> None:
    html = report_html(result, bundle)
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith(("data:", "#"))
        assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", html)
    assert len(html) < 5_000_000


def test_the_page_shows_every_file_and_picture(result: BenchmarkResult, bundle: Bundle) -> None:
    page = Page(report_html(result, bundle, pictures=3))
    for entry in bundle.files:
        assert page.text.count(entry.name) >= 3 + 3  # under each picture, in three tables
    # The three with the lowest agreement of any file, the lowest first.
    lowest = {
        golden.picture: min(
            row.cost.golden.pictures[golden.picture] for row in result.files if row.cost
        )
        for golden in bundle.golden
    }
    worst = sorted(lowest, key=lambda name: lowest[name])
    assert len(set(lowest.values())) > 3
    places = [page.text.index(name) for name in worst[:3]]
    assert places == sorted(places)
    assert worst[3] not in page.text
    assert len(page.all("img")) == 3 * (2 + 2 * len(bundle.files))
    for picture in page.pictures().values():
        assert picture.format == "JPEG"
        assert picture.width <= 320
    assert "prefers-color-scheme:dark" in page.text


def test_wide_tables_scroll_inside_their_box(fixed: BenchmarkResult, bundle: Bundle) -> None:
    html = report_html(fixed, bundle, pictures=0)
    # Of cost, stages, classes and conditions; a keyboard scrolls what can take the focus.
    boxes = re.findall(r'<div class=wide tabindex=0 role=region aria-label="[^"]+"><table', html)
    assert len(boxes) == html.count("<table") == 4
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert ".wide{overflow-x:auto}" in style
    # 14 columns fit into 1240 px with smaller margins and headings on several lines.
    assert ".cost thead th{white-space:normal" in style
    assert "position:sticky;left:0" in style  # file names stay visible while figures scroll


def test_the_page_escapes_text_of_bundle_and_machine(
    result: BenchmarkResult, bundle: Bundle
) -> None:
    evil = "<script>alert('x')</script>"
    spec = dataclasses.replace(bundle.spec, classes=("a", evil))
    first = dataclasses.replace(result.files[0], cost=None, error=evil, name=evil)
    changed = dataclasses.replace(
        result,
        model=evil,
        machine={**result.machine, "model": evil},
        files=(first, *result.files[1:]),
    )
    html = report_html(
        changed, dataclasses.replace(bundle, spec=spec, tools={evil: "1"}), pictures=1
    )
    page = Page(html)
    assert not page.all("script")
    # Twice in title and heading each; once as machine, class, tool and row; twice as a warning.
    assert page.text.count(evil) >= 8


def test_the_page_escapes_the_names_of_files(bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle.path, copy)
    (copy / "model-int8.tflite").rename(copy / "<mark>.tflite")
    manifest = (copy / "bundle.json").read_text().replace('"model-int8.tflite"', '"<mark>.tflite"')
    seal_manifest(copy, json.loads(manifest))
    odd = Bundle.open(copy)
    # Above its floor, so that the headline names it.
    entry = dataclasses.replace(odd.file("<mark>.tflite"), floor=0.0)
    odd = dataclasses.replace(odd, files=(entry,))
    page = Page(report_html(measure_bundle(odd, runs=1, rounds=1, threads=1), odd, pictures=1))
    assert not page.all("mark")
    assert page.text.count("<mark>.tflite") >= 5  # headline, both tables, chart, picture
    assert "<mark>.tflite, difference" in page.pictures()


def test_the_headline_names_the_fastest_file_within_its_floor(
    fixed: BenchmarkResult, bundle: Bundle
) -> None:
    hasty = row("hasty.tflite", "tflite", 5, 0.98, 0.99)
    html = report_html(dataclasses.replace(fixed, files=(hasty, *fixed.files)), bundle, pictures=0)
    assert "<strong>a.tflite</strong>" in html
    assert "<b>20.3×</b>" in html
    html = report_html(dataclasses.replace(fixed, files=(hasty,)), bundle, pictures=0)
    assert "No file ran here and reached its agreement floor" in html


def test_one_wrong_pixel_of_a_large_photo_is_red(bundle: Bundle, tmp_path: Path) -> None:
    name = "model-float32.tflite"
    pixels = np.random.default_rng(0).integers(0, 90, (900, 1200, 3), np.uint8)
    photo = _png(Image.fromarray(pixels))
    labels = Segmenter.open(bundle.path, file=name).segment(photo).labels.copy()
    labels[450, 601] ^= 1
    mask = _png(Mask.of(labels, bundle.spec).picture("index"))
    golden = GoldenPicture(
        "golden/1.png", "golden/1.mask.png", sha256(photo), sha256(mask), Choice("typical", None)
    )
    large = dataclasses.replace(
        bundle, path=tmp_path / "large", files=(bundle.file(name),), golden=(golden,), card=()
    )
    write_bundle(large, {name: (bundle.path / name).read_bytes()}, [(photo, mask)])
    page = Page(report_html(measure_bundle(large, runs=1, rounds=1, threads=1), large))
    assert "99.999 %, 1 px differ" in page.text
    difference = np.asarray(page.pictures()[f"{name}, difference"]).astype(int)
    assert difference.shape == (240, 320, 3)
    redness = difference[..., 0] - difference[..., 1]
    assert np.unravel_index(redness.argmax(), redness.shape) == (
        450 * 240 // 900,
        601 * 320 // 1200,
    )
    assert redness.max() > 100
    assert (redness > 60).sum() <= 4  # JPEG blurs it a little


def test_the_chart_places_points_by_time_and_agreement(
    fixed: BenchmarkResult, bundle: Bundle
) -> None:
    page = Page(report_html(fixed, dataclasses.replace(bundle, golden=())))
    points = {c["class"].split()[0]: (float(c["cx"]), float(c["cy"])) for c in page.all("circle")}
    assert points["tflite"][0] < points["onnx"][0] < points["keras"][0]
    assert points["onnx"][1] > points["tflite"][1] >= points["keras"][1]
    assert "ms, logarithmic" in page.text
    # Logarithmic: equal factors are equal distances.
    a, b, c = (points[name][0] for name in ("tflite", "onnx", "keras"))
    assert (b - a) / (c - b) == pytest.approx(np.log(40 / 12.345) / np.log(250 / 40), abs=0.01)


def test_the_front_joins_what_nothing_beats() -> None:
    points = [(10.0, 0.99), (5.0, 0.98), (5.0, 0.97), (12.0, 0.99), (20.0, 1.0), (5.0, 0.98)]
    assert pareto_front(points) == (1, 5, 0, 4)
    assert pareto_front([]) == ()


def test_the_front_is_drawn_and_named(fixed: BenchmarkResult, bundle: Bundle) -> None:
    page = Page(report_html(fixed, dataclasses.replace(bundle, golden=())))
    marked = [c["class"] for c in page.all("circle") if "best" in c["class"]]
    # a.tflite is faster than both, and Keras agrees with itself.
    assert sorted(marked) == ["keras best", "tflite best"]
    assert "no other beats in both: a.tflite, model.keras." in page.text
    (path,) = [each["d"] for each in page.all("path") if each["class"] == "front"]
    assert path.count("L") == 1


def test_the_page_has_what_was_measured_for_minutes(fixed: BenchmarkResult, bundle: Bundle) -> None:
    samples = tuple(Sample(second, 9, 100.0, None, 40.0 + second, ()) for second in (1.0, 2.0, 3.0))
    warm = dataclasses.replace(fixed, sustained=Sustained("a.tflite", 0.05, samples))
    page = Page(report_html(warm, dataclasses.replace(bundle, golden=())))
    assert len(page.all("polyline")) == 2  # rate and temperature; the clock is not known
    assert "a.tflite, 0.05 minutes without a pause: 9.00 pictures a second at first" in page.text
    assert "a.tflite, 0.05 minutes" in tables(warm)


def test_a_row_for_each_variant_in_csv(fixed: BenchmarkResult) -> None:
    first = dataclasses.replace(fixed.files[0], variant="openvino, 2 threads")
    text = csv_table(dataclasses.replace(fixed, files=(first, *fixed.files[1:])))
    assert is_csv_table(text.encode())
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["file"] for row in rows] == ["model.keras", "a.tflite", "b.onnx", "c.onnx"]
    assert (rows[1]["variant"], rows[2]["variant"]) == ("openvino, 2 threads", "")
    assert float(rows[1]["total_p50_ms"]) == 12.345
    assert float(rows[1]["golden_agreement"]) == 0.999999
    assert float(rows[1]["pictures_a_second"]) == pytest.approx(1000 / 12.345)
    assert (rows[3]["error"], rows[3]["total_p50_ms"]) == ("no <interpreter>", "")


def test_the_share_of_the_limit(fixed: BenchmarkResult) -> None:
    # 200 products of 64x64 matrices are 0.1048576 billion operations, in 3 ms on one thread.
    known = dataclasses.replace(fixed, macs=10_000_000)
    # 0.02 billion operations in 2.469 ms of inference (12.345 / 5) on two threads.
    expected = (0.02 / 2.469e-3) / (2 * 0.1048576 / 3e-3)
    assert known.share_of_limit(known.files[0]) == pytest.approx(expected)
    assert cost_rows(known)[1][8] == f"{100 * expected:.1f}"
    assert "0.02 billion operations" in " ".join(conditions(known))
    assert fixed.share_of_limit(fixed.files[0]) is None


def test_the_names_of_coinciding_points_do_not_overlap(
    fixed: BenchmarkResult, bundle: Bundle
) -> None:
    rows = tuple(row(f"model-{n}.tflite", "tflite", 20, 1.0, 0.9) for n in range(6))
    crowd = dataclasses.replace(fixed, keras=row("model.keras", "keras", 20, 1, None), files=rows)
    # None of these files is in the bundle, so no golden picture is segmented with them.
    html = report_html(crowd, dataclasses.replace(bundle, golden=()), pictures=0)
    names = [text for text in Page(html).all("text") if text.get("class") == "name"]
    places = [(float(name["x"]), float(name["y"])) for name in names]
    assert len(places) == 7
    for index, (x, y) in enumerate(places):
        for other_x, other_y in places[index + 1 :]:
            assert abs(y - other_y) >= 18 or abs(x - other_x) >= 7 * len("model-0.tflite")


def test_importing_the_package_loads_no_measurement_and_no_report() -> None:
    code = "import sys, unet_edge; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    assert not {"unet_edge.benchmarking.html_report", "unet_edge.benchmarking.measurement"} & set(
        loaded
    )


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
