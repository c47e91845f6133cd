"""Prove on emulated Raspberry Pis that the built wheel gives the masks that Keras gave here.

    make test-pi                # or: python -m benchmarks.pi.check BUNDLE

In each environment, it installs the wheel as the guide says and runs `doctor` and `verify` on each
processor. It runs `segment` on a photo and compares the mask with this machine's. It runs the
tests of geometry, which compare grids with golden bytes. Then it provokes the faults that the
doctor knows, and types the guide's commands. It takes no times: under emulation they mean nothing.
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
from benchmarks.pi.faults import provoke
from benchmarks.pi.guide import follow, with_systemd
from benchmarks.pi.sizes import Size, measure
from benchmarks.reporting import write_report
from unet_edge import Segmenter
from unet_edge.bundle.bundle import Bundle
from unet_edge.images.mask_file import read_labels
from unet_edge.percent import percent

ROOT = Path(__file__).parents[2]
# Geometry, masks, and the board as the doctor reads it. The other tests of the device passed on an
# emulated Bookworm too, but take six minutes there.
TESTS = (
    "images/test_picture_file.py", "images/test_decoding.py", "images/test_scaled_decoding.py",
    "images/test_placement.py", "masks/test_upsampling.py", "masks/test_mask.py",
    "masks/test_contours.py", "masks/test_run_length.py", "masks/test_metrics.py",
    "masks/test_boundary.py", "system/test_board.py", "test_spec.py",
    "runtime/test_segmenter.py", "runtime/test_interpreter_problems.py",
)  # fmt: skip
HELPERS = tuple(
    f"support/{name}.py" for name in ("paths", "sealing", "trained_data", "patterns", "flood_fill")
)
GRIDS = "test_grids_have_the_same_bytes_on_every_machine"
PHOTO = "photo.jpg"
GUIDED = ("trixie", "bookworm-apt", "bookworm-armhf")  # one of each way to install


@dataclass
class Outcome:
    """The results of one environment; `failures` is empty if everything passed."""

    environment: Environment
    failures: list[str] = field(default_factory=list)
    runs_by: str = ""
    agreements: dict[Cpu, dict[str, float]] = field(default_factory=dict)  # by processor and file
    photo: dict[str, float] = field(default_factory=dict)  # by file: agreement with the mask on x86
    tests: dict[str, int] = field(default_factory=dict)
    size: Size | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        values = {key: value for key, value in vars(self).items() if key != "environment"}
        values["size"] = self.size and self.size.to_dict()
        return {"environment": self.environment.name, "system": self.environment.system, **values}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--only", multiple=True, help="An environment's name; repeatable.  [default: all]")
@click.option("--jobs", default=2, show_default=True, help="Environments at a time.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write OUTPUT.md and .json.")
def main(bundle: Path, only: Sequence[str], jobs: int, output: Path | None) -> None:
    """Check BUNDLE, made on this machine, on emulated Raspberry Pis; exits with 1 on failures."""
    chosen = [environment for environment in ENVIRONMENTS if not only or environment.name in only]
    if not chosen:
        names = ", ".join(environment.name for environment in ENVIRONMENTS)
        raise click.UsageError(f"--only takes: {names}")
    try:
        wheel = build_wheel()
        masks = own_masks(bundle)
        # In sequence: environments share QEMU, and some share a root file system.
        for environment in chosen:
            suite, architecture = environment.suite, environment.architecture
            fresh_venv(environment)
            prepare(suite, architecture)  # sizes are compared with it
            prepare(suite, architecture, environment.packages)
            if environment.name in GUIDED:
                prepare(suite, architecture, with_systemd(environment).packages)
    except EmulationError as error:
        raise click.ClickException(str(error)) from error
    with ThreadPoolExecutor(jobs) as pool:
        outcomes = list(pool.map(lambda each: check(each, wheel, bundle, masks), chosen))
    text = tables(outcomes)
    click.echo(text)
    if output:
        opened = Bundle.open(bundle)
        model = f"{opened.spec.name}, {opened.spec.height}x{opened.spec.width} px"
        report = {"model": model, "environments": [outcome.to_dict() for outcome in outcomes]}
        write_report(output, report, _INTRODUCTION.format(model) + text + "\n")
    failures = [
        f"{outcome.environment.name}: {failure}"
        for outcome in outcomes
        for failure in outcome.failures
    ]
    if failures:
        raise click.ClickException("\n".join(("checks failed:", *failures)))


def build_wheel() -> Path:
    """Build this checkout's wheel in the cache."""
    folder = cache() / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(done.stdout + done.stderr)
    (wheel,) = folder.glob("*.whl")
    return wheel


def own_masks(bundle: Path) -> dict[str, np.ndarray]:
    """This machine's masks of the photo, labels uint8 (H, W), by the bundle's file.

    Also writes the photo to the cache: a picture of this repository as JPEG, rotated by its EXIF.
    """
    folder = cache() / "photo"
    folder.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    with Image.open(ROOT / "docs" / "pictures" / "overview.png") as picture:
        picture.convert("RGB").save(folder / PHOTO, quality=90, exif=exif)
    files = sorted((*bundle.glob("model-*.tflite"), *bundle.glob("model-*.onnx")))
    return {path.name: Segmenter.open(path).segment(folder / PHOTO).labels for path in files}


def check(
    environment: Environment, wheel: Path, bundle: Path, masks: dict[str, np.ndarray]
) -> Outcome:
    """Run every check of one environment; a failed step does not end the others."""
    outcome = Outcome(environment)
    here = machine(environment)

    def step(name: str, action: Callable[[], None]) -> None:
        started = time.monotonic()
        try:
            action()
            result = "ok"
        except (EmulationError, AssertionError, subprocess.TimeoutExpired) as error:
            outcome.failures.append(f"{name}: {error}")
            result = "FAILED"
            click.echo(outcome.failures[-1], err=True)
        seconds = time.monotonic() - started
        click.echo(f"{environment.name}: {name}: {result} ({seconds:.0f} s)", err=True)

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
    if not environment.fully_checked:
        return outcome
    step("tests", lambda: _tests(here, outcome))
    for name, provoke_fault in provoke(environment, wheel):
        step(name, provoke_fault)
    if environment.name in GUIDED:
        step("the guide", lambda: _guide(environment, wheel, bundle))
    return outcome


def _verify(here: Machine, cpu: Cpu, outcome: Outcome) -> None:
    doctor = _doctor(here, cpu)
    interpreters = doctor["interpreters"]
    if any(interpreter["state"] == "hung" for interpreter in interpreters):
        # The doctor's limit of 30 s is for a device; emulation on a busy machine is slower.
        doctor = _doctor(here, cpu)
        interpreters = doctor["interpreters"]
    assert doctor["ready"], doctor
    works = [interpreter for interpreter in interpreters if interpreter["state"] == "works"]
    outcome.runs_by = ", ".join(f"{each['package']} {each['version']}" for each in works)
    core = {"cortex-a7": "A7", "cortex-a53": "A53", "cortex-a72": "A72", "cortex-a76": "A76"}[cpu]
    assert doctor["board"]["processor"] == f"Cortex-{core}", doctor["board"]["processor"]
    assert ("dotprod" in doctor["board"]["features"]) == (cpu == "cortex-a76")
    done = here.run("unet-edge verify bundle --json", cpu)
    assert done.returncode == 0, done.stdout + done.stderr
    proof = json.loads(done.stdout)
    outcome.agreements[cpu] = {file["file"]: file["agreement"] for file in proof["files"]}
    # `verify` ran exactly the files that the doctor said can run.
    runnable = {file["name"] for file in doctor["files"] if file["runs_by"]}
    assert runnable == set(outcome.agreements[cpu]), (runnable, outcome.agreements[cpu])


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
        assert labels.shape == masks[name].shape, "the photo was not rotated as its EXIF says"
        outcome.photo[name] = float((labels == masks[name]).mean())
        # The floors of int8 and of float files against Keras.
        assert outcome.photo[name] >= (0.995 if "int8" in name else 0.999), outcome.photo


def _guide(environment: Environment, wheel: Path, bundle: Path) -> None:
    guided = with_systemd(environment)
    here = machine(guided, f"{environment.name}-guide")
    shutil.copy(wheel, here.home)
    shutil.copytree(bundle, here.home / "bundle")
    follow(here, guided)
    masks = sorted(path.name for path in (here.home / "masks").glob("*.png"))
    assert masks == ["first.mask.png", "first.overlay.png"], masks


def _tests(here: Machine, outcome: Outcome) -> None:
    stage = here.home / "checkout"  # without unet_edge/, so that the tests import the wheel's
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
        dict.fromkeys(
            file for outcome in outcomes for by_file in outcome.agreements.values()
            for file in by_file
        )
    )  # fmt: skip
    agreements = [
        [each.environment.system, each.runs_by, f"{cpu} ({BOARDS[cpu]})",
         *(f"{percent(by_file[file])} %" if file in by_file else "" for file in files)]
        for each in outcomes
        for cpu, by_file in each.agreements.items()
    ]  # fmt: skip
    tests = [
        [each.environment.system, each.runs_by, f"{each.tests.get('tests', 0)}",
         f"{each.tests.get('skipped', 0)}", f"{each.tests.get('grids', 0)}",
         " ".join(f"{name.removeprefix('model-')} {percent(same)} %"
                  for name, same in each.photo.items())]
        for each in outcomes
    ]  # fmt: skip
    sizes = [
        [each.environment.system, each.runs_by,
         each.size.downloaded.total, each.size.downloaded.apt,
         each.size.installed.total, each.size.installed.apt, each.size.ours, each.size.empty]
        for each in outcomes
        if each.size
    ]  # fmt: skip
    style = {"tablefmt": "github", "floatfmt": ".1f"}
    return "\n\n".join(
        (
            "## Pixels of the golden pictures equal to Keras' on x86",
            tabulate(agreements, ["system", "run by", "processor", *files], **style),
            "## Tests there, and the photo's masks compared with this machine's",
            tabulate(
                tests, ["system", "run by", "tests", "skipped", "golden grids", "photo"], **style
            ),
            "## Sizes in MB",
            tabulate(sizes, ["system", "run by", *_SIZES], **style),
        )
    )


_SIZES = (
    "downloaded", "of it by apt", "installed", "of it by apt", "of it ours", "pip itself",
)  # fmt: skip
_INTRODUCTION = """# Emulated Raspberry Pis

Made by `python -m benchmarks.pi.check`: the built wheel, installed as docs/raspberry-pi.md says, under QEMU with the processor's model. The bundle holds {}, exported and proven with Keras on x86. `downloaded` counts every wheel that pip fetches, ours too, and every .deb that apt fetches on a Debian with only Python and venv. `installed` counts every file that pip and apt write, compiled Python too, without pip and setuptools: `python3 -m venv` installs those (last column). Package lists, which apt and pip read first, are not counted. 1 MB is 10^6 bytes.

"""  # noqa: E501


if __name__ == "__main__":
    main()
