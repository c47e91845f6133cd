"""int8 files on a processor without VNNI, emulated: the check in CI, whatever CI's processor is."""

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

# Prints whether sums saturate there, and writes the scores with our backend and without its option.
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
    model, grid, found = (tmp_path / name for name in ("model.onnx", "grid.npy", "found.npz"))
    model.write_bytes(seal(int8_onnx(kernel), Contract(spec, "onnx", "int8")))
    np.save(grid, pixels)
    said = run_emulated("haswell", ["-c", SCRIPT, *map(str, (model, grid, found))], tmp_path)
    assert said.split() == ["x86", "without", "VNNI,True"]
    expected = expected_logits(kernel, pixels)
    with np.load(found) as there:
        np.testing.assert_array_equal(there["scores"], expected)
        # A kernel of 64 at most cannot saturate: other programs get it right, too.
        assert np.array_equal(there["default"], expected) == (largest == 64)


@pytest.mark.slow
def test_a_bundles_int8_files_give_the_same_scores_there(
    emulator: None, bundle_path: Path, tmp_path: Path
) -> None:
    """Without the option, too: the exporter bounded the weights."""
    from unet_edge.bundle.bundle import Bundle
    from unet_edge.images.decoding import read_photo
    from unet_edge.images.placement import Placement
    from unet_edge.runtime.backends.ort import OnnxRuntimeBackend

    bundle = Bundle.open(bundle_path)
    picture, _ = bundle.read_golden(bundle.golden[0])
    photo = read_photo(picture, bundle.spec)
    pixels = Placement.plan(photo.size, bundle.spec).place(photo.picture)
    grid, found = tmp_path / "grid.npy", tmp_path / "found.npz"
    np.save(grid, pixels)
    model = bundle_path / "model-int8.onnx"
    run_emulated("haswell", ["-c", SCRIPT, *map(str, (model, grid, found))], tmp_path)
    here = OnnxRuntimeBackend(bundle.read(bundle.file(model.name)), 1).scores(pixels)
    with np.load(found) as there:
        np.testing.assert_array_equal(there["default"], there["scores"])
        # Integers are the same. The stem and the last convolution are in float32, whose sums of 72
        # products at most round otherwise: 72 * 2**-24 of scores below 20 is 1e-4. A rounded
        # activation may move by a step for it, and so a few scores by more.
        different = np.abs(there["default"] - here)
        assert (different > 1e-4).mean() < 0.01
        assert (there["default"].argmax(-1) == here.argmax(-1)).mean() > 0.9995
