"""Input from other programs: models of Keras, arrays of cameras."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from unet_edge import Segmenter
from unet_edge.cli import main
from unet_edge.errors import ConfigError, ImageError, UnetEdgeError
from unet_edge.images.decoding import decode

# --- models -----------------------------------------------------------------------------------


@pytest.fixture(params=["unet.h5", "unet.keras"])
def keras_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file that begins like one of Keras."""
    path = tmp_path / request.param
    if path.suffix == ".h5":
        path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
    return path


@pytest.mark.parametrize("command", ["inspect", "segment"])
def test_the_error_of_a_keras_model_made_elsewhere_names_it_so(
    keras_file: Path, command: str
) -> None:
    photo = [str(keras_file.parent / "p.png")] if command == "segment" else []
    if photo:
        decode(np.zeros((4, 4, 3), np.uint8)).save(photo[0])
    result = CliRunner().invoke(main, [command, str(keras_file), *photo])
    assert result.exit_code == 1
    expected = f"{keras_file} is a Keras model without a contract; run: unet-edge import "
    assert expected in result.stderr
    for word in ("damaged", "Not a directory", "Traceback"):
        assert word not in result.stderr


def test_a_file_in_place_of_a_run_is_named_in_the_error(keras_file: Path) -> None:
    from unet_edge.runtime.segmenter import SPEC_FILE, read_spec

    with pytest.raises(UnetEdgeError, match="without a contract; run: unet-edge import "):
        read_spec(keras_file / SPEC_FILE)


def test_a_keras_file_without_its_contract(tmp_path: Path) -> None:
    (tmp_path / "unet.keras").write_bytes(b"PK\3\4")
    with pytest.raises(UnetEdgeError, match="without a contract; run: unet-edge import "):
        Segmenter.open(tmp_path / "unet.keras")


# --- arrays -----------------------------------------------------------------------------------

RED = np.array([[[200, 100, 50]]], np.uint8)


@pytest.mark.parametrize(
    ("order", "pixel"),
    [
        ("rgb", (200, 100, 50)),
        ("bgr", (50, 100, 200)),
        ("rgbx", (200, 100, 50, 0)),
        ("bgrx", (50, 100, 200, 7)),
        ("rgba", (200, 100, 50, 255)),
        ("bgra", (50, 100, 200, 255)),
    ],
)
def test_each_order_of_channels_gives_the_same_picture(order: str, pixel: tuple[int, ...]) -> None:
    array = np.array([[pixel]], np.uint8)
    assert np.array_equal(decode(array, order), RED)  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["rgba", "bgra"])
def test_alpha_lies_over_white(order: str) -> None:
    array = np.array([[(0, 0, 0, 0), (0, 0, 0, 51)]], np.uint8)
    assert np.asarray(decode(array, order)).tolist() == [[[255] * 3, [204] * 3]]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("array", "order", "fix"),
    [
        (np.zeros((4, 4, 4), np.uint8), "bgr", "color_order='bgra', 'rgba', 'bgrx' or 'rgbx'"),
        (np.zeros((4, 4, 3), np.uint8), "bgra", "three channels: color_order='bgr'"),
        (np.zeros((4, 4), np.uint8), "rgb", r"Image\.fromarray\(array\.squeeze\(\)\)"),
        (np.zeros((4, 4, 1), np.uint8), "rgb", r"Image\.fromarray\(array\.squeeze\(\)\)"),
        (np.zeros((4, 4, 3), np.float32), "rgb", r"its range to 0\.\.255 and its type to uint8"),
        (np.zeros((4, 4, 3), np.uint16), "rgb", r"its range to 0\.\.255 and its type to uint8"),
    ],
)
def test_another_array_is_refused_with_a_fix(array: object, order: str, fix: str) -> None:
    with pytest.raises(ImageError, match=rf"{order.upper()} pixels must be uint8 .*{fix}"):
        decode(array, order)  # type: ignore[arg-type]


def test_orders_are_for_arrays(tmp_path: Path) -> None:
    decode(RED).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match="color_order is 'bgra', and the picture is not an array"):
        decode(tmp_path / "a.png", "bgra")
    with pytest.raises(ConfigError, match="it must be one of rgb, bgr, rgba, bgra, rgbx, bgrx"):
        decode(RED, "gbr")  # type: ignore[arg-type]
