"""int8 files on an emulated processor without VNNI, whatever processor runs the tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from int8_onnx import SIZE, expected_logits, int8_onnx

from benchmarks.pi.emulator import EmulationError, qemu
from benchmarks.processors.check import run_emulated
from unet_edge.model_files.embedded_contract import Contract, seal
from unet_edge.spec import ModelSpec

# Prints whether sums saturate; writes the scores with our backend's session option and without it.
SCRIPT = """
import sys, numpy as np
from unet_edge.system.board import read_processor
from unet_edge.runtime.backends import int8_sums, ort
model, pixels = open(sys.argv[1], "rb").read(), np.load(sys.argv[2])
scores = ort.OnnxRuntimeBackend(model, 1).scores(pixels)
ort.careful_options = lambda model: {}
np.savez(sys.argv[3], scores=scores, default=ort.OnnxRuntimeBackend(model, 1).scores(pixels))
print(read_processor().int8, int8_sums.sums_saturate(), sep=",")
"""


@pytest.fixture(scope="module")
def emulator() -> None:
    if os.geteuid() != 0:
        pytest.skip("unpacking QEMU needs root")
    try:
        qemu("qemu-x86_64")
    except EmulationError as error:
        pytest.skip(f"no QEMU: {error}")


def weights(largest: int) -> np.ndarray:
    random = np.random.default_rng(largest)
    return random.integers(-largest, largest + 1, (8, 16, 1, 1), np.int8)


@pytest.mark.slow
@pytest.mark.parametrize("largest", [127, 64])
def test_masks_of_a_processor_without_vnni(emulator: None, tmp_path: Path, largest: int) -> None:
    kernel = weights(largest)
    spec = ModelSpec(SIZE, SIZE, tuple(f"class {index}" for index in range(8)))
    pixels = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 16), np.uint8)
    pixels[0] = 255
    model, grid, output = (tmp_path / name for name in ("model.onnx", "grid.npy", "scores.npz"))
    model.write_bytes(seal(int8_onnx(kernel), Contract(spec, "onnx", "int8")))
    np.save(grid, pixels)
    printed = run_emulated("haswell", ["-c", SCRIPT, *map(str, (model, grid, output))], tmp_path)
    assert printed.split() == ["x86", "without", "VNNI,True"]
    expected = expected_logits(kernel, pixels)
    with np.load(output) as emulated:
        np.testing.assert_array_equal(emulated["scores"], expected)
        # Weights of at most 64 cannot saturate, so the default is right too.
        assert np.array_equal(emulated["default"], expected) == (largest == 64)


@pytest.mark.slow
def test_a_bundles_int8_onnx_file_needs_no_session_option(
    emulator: None, bundle_path: Path, tmp_path: Path
) -> None:
    """The exporter bounds the weights."""
    from unet_edge.bundle.bundle import Bundle
    from unet_edge.images.decoding import read_photo
    from unet_edge.images.placement import Placement
    from unet_edge.runtime.backends.ort import OnnxRuntimeBackend

    bundle = Bundle.open(bundle_path)
    picture, _ = bundle.read_golden(bundle.golden[0])
    photo = read_photo(picture, bundle.spec)
    pixels = Placement.plan(photo.size, bundle.spec).place(photo.picture)
    grid, output = tmp_path / "grid.npy", tmp_path / "scores.npz"
    np.save(grid, pixels)
    model = bundle_path / "model-int8.onnx"
    run_emulated("haswell", ["-c", SCRIPT, *map(str, (model, grid, output))], tmp_path)
    native = OnnxRuntimeBackend(bundle.read(bundle.file(model.name)), 1).scores(pixels)
    with np.load(output) as emulated:
        np.testing.assert_array_equal(emulated["default"], emulated["scores"])
        # Integer sums are equal. The stem and the last convolution are in float32. Their sums of at
        # most 72 products round differently: 72 * 2**-24 of scores below 20 is 1e-4. That can move
        # a rounded activation by one step, and a few scores by more.
        difference = np.abs(emulated["default"] - native)
        assert (difference > 1e-4).mean() < 0.01
        assert (emulated["default"].argmax(-1) == native.argmax(-1)).mean() > 0.9995
