"""What a bare device can import, and what imports load. import-linter checks the directions."""

import subprocess
import sys
import textwrap

from paths import ROOT

WORKSTATION = ("tensorflow", "keras", "onnx", "tf2onnx", "matplotlib", "h5py", "jax", "torch")
INTERPRETERS = ("ai_edge_litert", "tflite_runtime", "onnxruntime", "openvino")


def modules():
    """Every module of the package, by dotted name."""
    names = (
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "unet_edge").rglob("*.py"))
    )
    return [name.removesuffix(".__init__") for name in names]


def within(name, package):
    return name == package or name.startswith(f"{package}.")


def run(code, *arguments):
    """Run code in a new interpreter, where warnings are errors; returns the words of its output."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


BLOCK = """
    import importlib, sys

    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in BLOCKED:
                raise ImportError(f"{name} is not on the device")

    BLOCKED = set(sys.argv[1].split(","))
    sys.meta_path.insert(0, Blocker())
"""


def test_every_module_of_the_device_imports_without_other_libraries():
    device = [
        name
        for name in modules()
        if not within(name, "unet_edge.training")
        and not within(name, "unet_edge.demo")
        and name not in ("unet_edge.runtime.backends.keras_model", "unet_edge.__main__")
    ]
    assert len(device) > 15
    code = """
    for name in sys.argv[2].split(","):
        importlib.import_module(name)
        print(name)
    """
    blocked = ",".join(WORKSTATION + INTERPRETERS)
    assert run(BLOCK + code, blocked, ",".join(device)) == device


LOADED = """
    import sys
    {}
    print(*sorted(sys.modules))
"""

# Each takes milliseconds on a workstation, tens of them on a Raspberry Pi, and is not needed yet.
LATER = {
    "hashlib", "importlib.metadata", "multiprocessing", "shutil", "subprocess", "tempfile",
    "zipfile", "PIL.ImageDraw", "PIL.ImageFont", "unet_edge.bundle.bundle",
    "unet_edge.dataset", "unet_edge.model_files.read_graph",
    "unet_edge.runtime.interpreter_problems",
}  # fmt: skip


def test_importing_the_package_loads_nothing_that_is_not_needed():
    bare = set(run(LOADED.format("pass")))
    loaded = set(run(LOADED.format("import unet_edge"))) - bare
    assert {name.split(".")[0] for name in loaded} <= {"unet_edge", *sys.stdlib_module_names}
    assert loaded.isdisjoint(LATER)


def test_the_segmenter_loads_numpy_and_pillow_and_little_else():
    theirs = set(run(LOADED.format("import numpy, PIL.Image")))
    loaded = set(run(LOADED.format("from unet_edge import Segmenter")))
    heavy = {*WORKSTATION, *INTERPRETERS, "click", "tqdm", "tabulate"}
    assert loaded.isdisjoint(heavy)
    assert (loaded - theirs).isdisjoint(LATER)
    assert {"numpy", "PIL.Image"} <= loaded


def test_segmenting_from_the_command_line_loads_no_other_command():
    loaded = set(run(LOADED.format("from unet_edge.cli import device, main")))
    others = {
        f"unet_edge.cli.{name}"
        for name in ("data", "verification", "benchmarking", "training", "inspection")
    }
    assert loaded.isdisjoint(
        {*others, "tqdm", "tabulate", "unet_edge.dataset", "zipfile", "unet_edge.runtime.tiling"}
    )
    assert "numpy" in loaded


def test_settings_need_nothing_of_the_train_extra():
    settings = [name for name in modules() if within(name, "unet_edge.training.settings")]
    assert "unet_edge.training.settings.train_config" in settings
    code = """
    for name in sys.argv[2].split(","):
        importlib.import_module(name)
        print(name)
    """
    blocked = ",".join((*WORKSTATION, *INTERPRETERS, "cattrs", "tomli_w", "click"))
    assert run(BLOCK + code, blocked, ",".join(settings)) == settings


def test_settings_load_no_numpy():
    loaded = set(run(LOADED.format("import unet_edge.training.settings.train_config")))
    assert "unet_edge.dataset.settings" in loaded
    assert loaded.isdisjoint({"numpy", "PIL", "unet_edge.dataset.sample"})


def test_importing_the_converters_package_loads_no_converter():
    code = """
    import sys
    import converters
    print(*sorted({name.split(".")[0] for name in sys.modules}))
    """
    assert set(run(code)).isdisjoint(WORKSTATION)


def test_the_public_names_are_there():
    code = """
    import unet_edge
    for name in unet_edge.__all__:
        getattr(unet_edge, name)
    print(unet_edge.__version__)
    """
    assert len(run(code)) == 1
