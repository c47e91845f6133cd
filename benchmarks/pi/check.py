"""Prove on emulated Raspberry Pis that the built wheel gives the masks that Keras gave here.

    make test-pi                # or: python -m benchmarks.pi.check BUNDLE

In each environment: the wheel is installed as the guide says, `doctor` and `verify` run on each
processor, `segment` on a photo, whose mask is compared with this machine's, and the tests of
geometry run there, grids' golden bytes among them. Then the doctor's troubles are provoked, and
the guide's commands typed. Times are not taken: emulated ones say nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image
from tabulate import tabulate

from benchmarks.pi.emulator import BOARDS, Cpu, EmulationError, Machine, cache, prepare
from benchmarks.pi.environments import ENVIRONMENTS, Environment, fresh_venv, install, machine
from benchmarks.pi.guide import follow, with_systemd
from benchmarks.pi.sizes import Size, measure
from benchmarks.pi.troubles import provoke
from benchmarks.reporting import write_report
from unet_edge import Segmenter
from unet_edge.bundle.bundle import Bundle
from unet_edge.images.mask_file import read_labels
from unet_edge.percent import percent

ROOT = Path(__file__).parents[2]
# Geometry, masks and what the doctor reads of the board; the rest of the device's tests passed on
# emulated Bookworm too, but takes six minutes there.
TESTS = (
    "images/test_picture_file.py", "images/test_decoding.py", "images/test_scaled_decoding.py",
    "images/test_placement.py", "masks/test_upsampling.py", "masks/test_mask.py",
    "masks/test_contours.py", "masks/test_run_length.py", "masks/test_metrics.py",
    "masks/test_boundary.py", "system/test_board.py", "test_spec.py",
    "runtime/test_segmenter.py", "runtime/test_availability.py",
)  # fmt: skip
HELPERS = tuple(
    f"support/{name}.py" for name in ("paths", "sealing", "trained_data", "patterns", "flood_fill")
)
GRIDS = "test_grids_have_the_same_bytes_on_every_machine"
PHOTO = "photo.jpg"
GUIDED = ("trixie", "bookworm-apt", "bookworm-armhf")  # one of each way to install


@dataclass
class Outcome:
    """What was found in one environment; `failures` is empty where all is as it should be."""

    environment: Environment
    failures: list[str] = field(default_factory=list)
    runs_by: str = ""
    agreements: dict[Cpu, dict[str, float]] = field(default_factory=dict)  # by CPU and file
    photo: dict[str, float] = field(default_factory=dict)  # the photo's mask against x86's
    tests: dict[str, int] = field(default_factory=dict)
    size: Size | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        found = {key: value for key, value in vars(self).items() if key != "environment"}
        found["size"] = self.size and self.size.to_dict()
        return {"environment": self.environment.name, "system": self.environment.system, **found}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--only", multiple=True, help="An environment's name; repeatable.  [default: all]")
@click.option("--jobs", default=2, show_default=True, help="Environments at a time.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write OUTPUT.md and .json.")
def main(bundle: Path, only: Sequence[str], jobs: int, output: Path | None) -> None:
    """Check BUNDLE, made on this machine, on emulated Raspberry Pis; exits with 1 on failures."""
    chosen = [one for one in ENVIRONMENTS if not only or one.name in only]
    if not chosen:
        names = ", ".join(one.name for one in ENVIRONMENTS)
        raise click.UsageError(f"--only takes: {names}")
    try:
        wheel = build_wheel()
        masks = own_masks(bundle)
        for one in chosen:  # one after the other: they share QEMU, and some a root
            fresh_venv(one)
            prepare(one.suite, one.architecture)  # what sizes are compared with
            prepare(one.suite, one.architecture, one.packages)
            if one.name in GUIDED:
                prepare(one.suite, one.architecture, with_systemd(one).packages)
    except EmulationError as error:
        raise click.ClickException(str(error)) from error
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(lambda one: check(one, wheel, bundle, masks), chosen))
    text = tables(outcomes)
    click.echo(text)
    if output:
        opened = Bundle.open(bundle)
        model = f"{opened.spec.name}, {opened.spec.height}x{opened.spec.width} px"
        report = {"model": model, "environments": [one.to_dict() for one in outcomes]}
        write_report(output, report, _INTRODUCTION.format(model) + text + "\n")
    failures = [f"{one.environment.name}: {what}" for one in outcomes for what in one.failures]
    if failures:
        raise click.ClickException("\n".join(("something is not as it should be:", *failures)))


def build_wheel() -> Path:
    """The wheel of this checkout, in the cache."""
    folder = cache() / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(done.stdout + done.stderr)
    (wheel,) = folder.glob("*.whl")
    return wheel


def own_masks(bundle: Path) -> dict[str, np.ndarray]:
    """This machine's mask of the photo by each of the bundle's files, labels uint8 (H, W).

    The photo is a JPEG whose EXIF turns it, made of a picture of this repository.
    """
    folder = cache() / "photo"
    folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees
    with Image.open(ROOT / "docs" / "pictures" / "overview.png") as picture:
        picture.convert("RGB").save(folder / PHOTO, quality=90, exif=exif)
    files = sorted((*bundle.glob("model-*.tflite"), *bundle.glob("model-*.onnx")))
    return {path.name: Segmenter.open(path).segment(folder / PHOTO).labels for path in files}


def check(
    environment: Environment, wheel: Path, bundle: Path, masks: dict[str, np.ndarray]
) -> Outcome:
    """All that is proven in one environment."""
    outcome = Outcome(environment)
    here = machine(environment)

    def step(name: str, do: Callable[[], None]) -> None:
        started = time.monotonic()
        try:
            do()
            word = "ok"
        except (EmulationError, AssertionError, subprocess.TimeoutExpired) as error:
            outcome.failures.append(f"{name}: {error}")
            word = "FAILED"
            click.echo(outcome.failures[-1], err=True)
        spent = time.monotonic() - started
        click.echo(f"{environment.name}: {name}: {word} ({spent:.0f} s here)", err=True)

    def begin() -> None:
        install(here, environment, wheel)
        shutil.copytree(bundle, here.home / "bundle")
        shutil.copy(cache() / "photo" / PHOTO, here.home)

    step("install", begin)
    if outcome.failures:
        return outcome
    step("sizes", lambda: setattr(outcome, "size", measure(here, environment)))
    for cpu in environment.cpus:
        step(f"doctor and verify on {cpu}", partial(_verify, here, cpu, outcome))
    step("segment", lambda: _segment(here, masks, outcome))
    if not environment.whole:
        return outcome
    step("tests", lambda: _tests(here, outcome))
    for name, trouble in provoke(environment, wheel):
        step(name, trouble)
    if environment.name in GUIDED:
        step("the guide", lambda: _guide(environment, wheel, bundle))
    return outcome


def _verify(here: Machine, cpu: Cpu, outcome: Outcome) -> None:
    doctor = _doctor(here, cpu)
    if any(one["state"] == "hung" for one in doctor["interpreters"]):
        doctor = _doctor(here, cpu)  # its 30 s are a device's; a busy machine emulates slower
    assert doctor["ready"], doctor
    works = [one for one in doctor["interpreters"] if one["state"] == "works"]
    outcome.runs_by = ", ".join(f"{one['package']} {one['version']}" for one in works)
    core = {"cortex-a7": "A7", "cortex-a53": "A53", "cortex-a72": "A72", "cortex-a76": "A76"}[cpu]
    assert doctor["board"]["processor"] == f"Cortex-{core}", doctor["board"]["processor"]
    assert ("dotprod" in doctor["board"]["features"]) == (cpu == "cortex-a76")
    done = here.run("unet-edge verify bundle --json", cpu)
    assert done.returncode == 0, done.stdout + done.stderr
    proof = json.loads(done.stdout)
    outcome.agreements[cpu] = {one["file"]: one["agreement"] for one in proof["files"]}
    # What the doctor said runs is what ran, and nothing was left out in silence.
    ran = {one["name"] for one in doctor["files"] if one["runs_by"]}
    assert ran == set(outcome.agreements[cpu]), (ran, outcome.agreements[cpu])


def _doctor(here: Machine, cpu: Cpu) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(here.run("unet-edge doctor bundle --json", cpu).stdout)
    return report


def _segment(here: Machine, masks: dict[str, np.ndarray], outcome: Outcome) -> None:
    cpu = outcome.environment.cpu
    assert cpu in outcome.agreements, "nothing was verified"
    for name in outcome.agreements[cpu]:
        report = here.do(f"unet-edge segment bundle/{name} {PHOTO} -o masks-{name} --json", cpu)
        assert len(json.loads(report)["pictures"]) == 1
        stem = Path(PHOTO).stem
        labels = np.asarray(read_labels(here.home / f"masks-{name}" / f"{stem}.mask.png"))
        assert labels.shape == masks[name].shape, "the photo was not turned as its EXIF says"
        outcome.photo[name] = float((labels == masks[name]).mean())
        # The floors that float and int8 files are promised against Keras.
        assert outcome.photo[name] >= (0.995 if "int8" in name else 0.999), outcome.photo


def _guide(environment: Environment, wheel: Path, bundle: Path) -> None:
    typed = with_systemd(environment)
    here = machine(typed, f"{environment.name}-guide")
    shutil.copy(wheel, here.home)
    shutil.copytree(bundle, here.home / "bundle")
    follow(here, typed)
    masks = sorted(path.name for path in (here.home / "masks").glob("*.png"))
    assert masks == ["first.mask.png", "first.overlay.png"], masks


def _tests(here: Machine, outcome: Outcome) -> None:
    stage = here.home / "checkout"  # without unet_edge/, so that the installed one is tested
    for name in ("conftest.py", *HELPERS, *TESTS):
        (stage / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, stage / "tests" / name)
    shutil.copytree(ROOT / "tests" / "data" / "jpeg", stage / "tests" / "data" / "jpeg")
    shutil.copy(ROOT / "pyproject.toml", stage)
    cpu = outcome.environment.cpu
    here.do("pip install --quiet --target pytest pytest", cpu, network=True)
    done = here.run(
        "cd checkout && PYTHONPATH=../pytest python -m pytest -q -p no:cacheprovider "
        "-m 'not slow' --junit-xml=../tests.xml",
        cpu,
    )
    suite = next(ElementTree.parse(here.home / "tests.xml").iter("testsuite"))
    count = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    grids = [case for case in suite.iter("testcase") if case.attrib["name"].startswith(GRIDS)]
    outcome.tests = {**count, "grids": sum(len(case) == 0 for case in grids)}
    assert done.returncode == 0, done.stdout[-3000:]
    assert grids, "no golden grid was compared"
    assert outcome.tests["grids"] == len(grids), "a golden grid was skipped"


def tables(outcomes: Sequence[Outcome]) -> str:
    """Agreement with Keras, and sizes, as Markdown."""
    files = list(
        dict.fromkeys(f for one in outcomes for cpu in one.agreements.values() for f in cpu)
    )
    agreement = [
        [one.environment.system, one.runs_by, f"{cpu} ({BOARDS[cpu]})",
         *(f"{percent(found[file])} %" if file in found else "" for file in files)]
        for one in outcomes
        for cpu, found in one.agreements.items()
    ]  # fmt: skip
    others = [
        [one.environment.system, one.runs_by, f"{one.tests.get('tests', 0)}",
         f"{one.tests.get('skipped', 0)}", f"{one.tests.get('grids', 0)}",
         " ".join(f"{name.removeprefix('model-')} {percent(same)} %"
                  for name, same in one.photo.items())]
        for one in outcomes
    ]  # fmt: skip
    sizes = [
        [one.environment.system, one.runs_by, one.size.downloaded.total, one.size.downloaded.apt,
         one.size.installed.total, one.size.installed.apt, one.size.ours, one.size.empty]
        for one in outcomes
        if one.size
    ]  # fmt: skip
    style = {"tablefmt": "github", "floatfmt": ".1f"}
    return "\n\n".join(
        (
            "## Pixels of the golden pictures equal to Keras' on x86",
            tabulate(agreement, ["system", "run by", "processor", *files], **style),
            "## Tests there, and the photo's masks against this machine's",
            tabulate(
                others, ["system", "run by", "tests", "skipped", "golden grids", "photo"], **style
            ),
            "## Sizes in MB",
            tabulate(sizes, ["system", "run by", *_SIZES], **style),
        )
    )


_SIZES = (
    "downloaded", "of it by apt", "installed", "of it by apt", "of it ours", "pip itself",
)  # fmt: skip
_INTRODUCTION = """# Emulated Raspberry Pis

Made by `python -m benchmarks.pi.check`: the built wheel, installed as docs/raspberry-pi.md says, under QEMU with the processor's model. The bundle is of {}, made and proven with Keras on x86. `downloaded` is every wheel that pip fetches, ours among them, and every .deb that apt fetches on a Debian of nothing but Python with venv; `installed` every file that pip and apt wrote, compiled Python too, without pip and setuptools themselves, which `python3 -m venv` puts there (last column). Lists of packages, which apt and pip read first, are not counted. 1 MB is 10^6 bytes.

"""  # noqa: E501


if __name__ == "__main__":
    main()
