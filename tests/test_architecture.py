"""Which module may import which, and what a bare device can import."""

import ast
import subprocess
import sys
import textwrap

import pytest
from paths import ROOT

# Lower numbers know nothing of higher ones (see CONTRIBUTING.md). A name stands for the module
# and all below it; the longest that fits counts.
RANKS = {
    "unet_edge": 0,  # spec, decoding, mask, metrics, files, dataset …
    "unet_edge.bundle.bundle": 1,
    "unet_edge.model_files.read_graph": 1,
    "unet_edge.model_files.embedded_contract": 1,
    "unet_edge.runtime": 2,
    "unet_edge.__init__": 2,  # what users import; nothing inside the package does
    "unet_edge.training": 3,
    "converters": 4,
    "unet_edge.demo": 5,
    "unet_edge.cli": 6,
    "unet_edge.__main__": 6,
    "unet_edge.command": 6,
    "benchmarks": 7,
}

# Where a library may be imported at all, be it inside a function.
HOMES = {
    "tensorflow": ("converters", "benchmarks", "unet_edge.training.fused_batch_norm"),
    "tf2onnx": ("converters", "benchmarks"),
    "onnx": ("converters", "benchmarks"),
    "matplotlib": ("unet_edge.training.curves", "benchmarks"),
    "keras": (
        "unet_edge.training",
        "unet_edge.runtime.backends.keras_model",
        "unet_edge.demo",
        "unet_edge.cli",
        "converters",
        "benchmarks",
    ),
    "ai_edge_litert": (
        "unet_edge.runtime.backends.litert",
        "unet_edge.evaluation.layer_errors",
        "converters",
        "benchmarks",
    ),
    "onnxruntime": (
        "unet_edge.runtime.backends.ort",
        "unet_edge.runtime.backends.int8_sums",
        "unet_edge.evaluation.layer_errors",
        "converters",
        "benchmarks",
    ),
    "openvino": ("unet_edge.runtime.backends.openvino",),
}

WORKSTATION = ("tensorflow", "keras", "onnx", "tf2onnx", "matplotlib", "h5py", "jax", "torch")
INTERPRETERS = ("ai_edge_litert", "tflite_runtime", "onnxruntime", "openvino")


def sources():
    """Every module of ours with its syntax tree, by dotted name."""
    found = {}
    for package in ("unet_edge", "converters", "benchmarks"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if name != "unet_edge.__init__":
                name = name.removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


SOURCES = sources()


def imported(tree):
    """Every absolute name that a module imports anywhere, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from ((alias.name, node.lineno) for alias in node.names)
            case ast.ImportFrom(level=0, module=module):
                for alias in node.names:
                    # "from package import module" imports the module.
                    whole = f"{module}.{alias.name}"
                    yield (whole if whole in SOURCES else module), node.lineno
            case ast.ImportFrom():
                yield "a relative import", node.lineno


def within(name, package):
    return name == package or name.startswith(f"{package}.")


def rank(name):
    return RANKS[max((key for key in RANKS if within(name, key)), key=len)]


def test_dependencies_point_one_way():
    wrong = [
        f"{name}:{line} imports {target}"
        for name, tree in SOURCES.items()
        for target, line in imported(tree)
        if any(within(target, key) for key in RANKS) and rank(target) > rank(name)
    ]
    assert not wrong


def test_inside_the_package_nobody_goes_through_its_front_door():
    # unet_edge/__init__.py imports the runtime; a leaf that imported it would be no leaf.
    wrong = [
        f"{name}:{line}"
        for name, tree in SOURCES.items()
        if within(name, "unet_edge") and name != "unet_edge.__init__" and rank(name) < 5
        for target, line in imported(tree)
        if target == "unet_edge"
    ]
    assert not wrong


def test_there_are_no_relative_imports():
    assert not [
        f"{name}:{line}"
        for name, tree in SOURCES.items()
        for target, line in imported(tree)
        if target == "a relative import"
    ]


@pytest.mark.parametrize("library", HOMES)
def test_a_library_is_imported_at_home_only(library):
    wrong = [
        f"{name}:{line} imports {target}"
        for name, tree in SOURCES.items()
        for target, line in imported(tree)
        if within(target, library) and not any(within(name, home) for home in HOMES[library])
    ]
    assert not wrong


# --- what really happens ----------------------------------------------------------------------


def run(code, *arguments):
    """Run code in a fresh interpreter; its output. A warning is an error there, as here."""
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


def test_every_module_of_the_device_imports_where_only_its_own_libraries_are():
    device = [
        name.removesuffix(".__init__")
        for name in SOURCES
        if within(name, "unet_edge")
        and not within(name, "unet_edge.training")
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

# Each costs milliseconds on a workstation, tens of them on a Raspberry Pi, and is not needed yet.
LATER = {
    "hashlib", "importlib.metadata", "multiprocessing", "shutil", "subprocess", "tempfile",
    "zipfile", "PIL.ImageDraw", "PIL.ImageFont", "unet_edge.bundle.bundle",
    "unet_edge.dataset", "unet_edge.model_files.read_graph",
    "unet_edge.runtime.availability",
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


def test_segmenting_from_the_command_line_waits_for_no_other_command():
    loaded = set(run(LOADED.format("from unet_edge.cli import device, main")))
    others = {f"unet_edge.cli.{name}" for name in ("data", "proof", "training", "inspection")}
    assert loaded.isdisjoint({*others, "tqdm", "tabulate", "unet_edge.dataset", "zipfile"})
    assert "numpy" in loaded


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
