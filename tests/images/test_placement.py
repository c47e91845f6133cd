import hashlib
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from patterns import WHITE, grey, label_pattern, pattern, spec_of
from PIL import Image

from unet_edge.errors import ConfigError
from unet_edge.images.decoding import decode
from unet_edge.images.placement import FILTERS, Placement, place, resize_labels
from unet_edge.spec import IGNORE

SIZES = [(1, 1), (1, 5000), (5000, 1), (3, 2), (223, 319), (640, 480), (4000, 3000)]
GRIDS = [(224, 224), (224, 320), (512, 512)]
CASES = [(size, grid, fit) for size in SIZES for grid in GRIDS for fit in ("letterbox", "stretch")]

every_placement = pytest.mark.parametrize(("size", "grid", "fit"), CASES, ids=str)


def planned(size, grid, fit):
    return Placement.plan(size, spec_of(grid, fit=fit))


@every_placement
def test_the_box_lies_in_the_middle_of_the_grid(size, grid, fit):
    p = planned(size, grid, fit)
    assert (p.width, p.height) == size
    assert p.placed_height >= 1
    assert p.placed_width >= 1
    for start, filled, whole in (
        (p.top, p.placed_height, grid[0]),
        (p.left, p.placed_width, grid[1]),
    ):
        after = whole - start - filled
        assert 0 <= start <= after <= start + 1  # an odd pixel goes below and to the right
    assert p.placed_height == grid[0] or p.placed_width == grid[1]
    if fit == "stretch":
        assert (p.placed_height, p.placed_width) == grid


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_letterbox_keeps_the_aspect_to_half_a_pixel(size, grid):
    width, height = size
    p = planned(size, grid, "letterbox")
    scale = min(Fraction(grid[0], height), Fraction(grid[1], width))
    for placed, exact in ((p.placed_height, height * scale), (p.placed_width, width * scale)):
        # Rounding to whole px moves a side by at most half a px; a side that rounds to nothing
        # is kept at one.
        assert abs(placed - exact) <= Fraction(1, 2) or (placed == 1 and exact < Fraction(1, 2))


def test_half_a_pixel_is_rounded_up():
    # 5 x 3 into 224 x 320: 320 * 3 / 5 = 192. 64 x 3 into 32 x 32: 32 * 3 / 64 = 1.5.
    assert planned((5, 3), (224, 320), "letterbox").placed_height == 192
    assert planned((64, 3), (32, 32), "letterbox").placed_height == 2
    assert planned((3, 64), (32, 32), "letterbox").placed_width == 2


@every_placement
def test_the_picture_fills_the_box_and_the_padding_colour_the_rest(size, grid, fit):
    # White, so that no pixel of the picture looks like the default grey.
    p = planned(size, grid, fit)
    placed = p.place(Image.new("RGB", size, WHITE))
    assert placed.dtype == np.uint8
    assert placed.shape == (*grid, 3)
    expected = np.full((*grid, 3), 128, np.uint8)
    expected[p.top : p.top + p.placed_height, p.left : p.left + p.placed_width] = 255
    assert np.array_equal(placed, expected)


def test_the_padding_colour_is_the_contracts():
    spec = spec_of((4, 8), pad_color=(1, 2, 3))
    placed = place(Image.new("RGB", (4, 4), WHITE), spec)
    assert placed[0].tolist() == [[1, 2, 3]] * 2 + [[255] * 3] * 4 + [[1, 2, 3]] * 2


@pytest.mark.parametrize("resample", FILTERS)
def test_a_picture_of_the_grids_size_passes_unchanged(resample):
    pixels = pattern(32, 24)
    spec = spec_of((24, 32), resample=resample)
    assert np.array_equal(place(Image.fromarray(pixels), spec), pixels)


def test_the_filter_is_the_contracts():
    # 4 px to 1. Box is the plain mean, 200 / 4. Bilinear weighs px 0 to 5 around the centre at
    # 2 by 5, 7, 7, 5, 3, 1: 200 * 5 / 28. Bicubic (a = -1/2) is neither.
    row = Image.fromarray(grey([[0, 0, 0, 200] + 12 * [0]]))
    found = {
        name: int(place(row, spec_of((1, 4), fit="stretch", resample=name))[0, 0, 0])
        for name in FILTERS
    }
    assert found["box"] == 50
    assert found["bilinear"] == 36
    assert found["bicubic"] not in (50, 36)


def test_passes_run_in_one_order_on_every_pillow():
    # Each pass rounds to 8 bits, so their order changes the result. Pillow 13 runs the vertical
    # pass first where that is cheaper (https://github.com/python-pillow/Pillow/pull/9549); older
    # ones run the horizontal pass first. A model trained with one must see the same pixels on a
    # device that has another.
    picture = Image.fromarray(pattern(300, 700))
    for resample, used in FILTERS.items():
        expected = picture.resize((320, 700), used).resize((320, 224), used)
        placed = place(picture, spec_of((224, 320), fit="stretch", resample=resample))
        assert np.array_equal(placed, np.asarray(expected))


def test_shrinking_is_antialiased():
    # A checkerboard becomes grey: without antialiasing some grid pixels would be black or white.
    board = grey((np.indices((448, 448)).sum(axis=0) % 2) * 255)
    placed = place(Image.fromarray(board), spec_of((224, 224), resample="box"))
    assert set(np.unique(placed)) <= {127, 128}  # 127.5 rounded


@every_placement
def test_a_placed_mask_is_ignored_outside_the_box(size, grid, fit):
    p = planned(size, grid, fit)
    placed = p.place_labels(np.ones(size[::-1], np.uint8))
    assert placed.dtype == np.uint8
    expected = np.full(grid, IGNORE, np.uint8)
    expected[p.top : p.top + p.placed_height, p.left : p.left + p.placed_width] = 1
    assert np.array_equal(placed, expected)


UPSCALED = [(1, 1), (3, 2), (2, 3), (7, 5), (100, 75), (113, 111), (224, 100), (160, 224)]


@pytest.mark.parametrize("size", UPSCALED, ids=str)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_a_mask_is_the_same_after_placing_on_a_finer_grid_and_restoring(size, grid, fit):
    # With s source px on p >= s cells, pixel j's centre lies in cell i = floor((j + 1/2) p / s),
    # whose centre is at most half a cell, s / (2 p) <= 1/2 px, from it: still inside pixel j.
    p = planned(size, grid, fit)
    if p.placed_height < p.height or p.placed_width < p.width:
        pytest.skip("the box is smaller than the picture")
    mask = label_pattern(*size)
    assert np.array_equal(p.restore(p.place_labels(mask)), mask)


@every_placement
def test_a_restored_pixel_gets_the_label_of_the_cell_with_its_centre(size, grid, fit):
    p = planned(size, grid, fit)
    cells = (np.arange(grid[0] * grid[1]) * 37 % 251).astype(np.uint8).reshape(grid)

    def cell(count, start, placed):
        return [start + floor((j + Fraction(1, 2)) * placed / count) for j in range(count)]

    rows = cell(p.height, p.top, p.placed_height)
    columns = cell(p.width, p.left, p.placed_width)
    restored = p.restore(cells)
    assert restored.dtype == np.uint8
    assert np.array_equal(restored, cells[np.ix_(rows, columns)])


@every_placement
def test_a_placed_label_is_that_of_the_pixel_with_its_centre(size, grid, fit):
    p = planned(size, grid, fit)
    mask = label_pattern(*size, classes=251)
    rows = [
        floor((i + Fraction(1, 2)) * p.height / p.placed_height) for i in range(p.placed_height)
    ]
    columns = [
        floor((i + Fraction(1, 2)) * p.width / p.placed_width) for i in range(p.placed_width)
    ]
    box = p.place_labels(mask)[p.top : p.top + p.placed_height, p.left : p.left + p.placed_width]
    assert np.array_equal(box, mask[np.ix_(rows, columns)])


def test_picture_and_mask_land_in_the_same_place():
    # A white rectangle, whose mask is itself. Grid and label grid agree except on its edge, where
    # the filter blends pixels.
    mask = np.zeros((300, 500), np.uint8)
    mask[60:200, 110:350] = 1
    p = planned((500, 300), (224, 320), "letterbox")
    pixels = p.place(Image.fromarray(grey(mask * 255)))[..., 0]
    labels = p.place_labels(mask)
    assert ((pixels == 255) <= (labels == 1)).all()
    assert ((pixels == 0) <= (labels == 0)).all()
    blended = (pixels != 0) & (pixels != 255) & (labels != IGNORE)
    # Bilinear reaches one source px of 0.64 cells around a centre: at most 2 cells on each side
    # of the four edges, and the corners twice.
    assert blended.sum() <= 2 * 2 * 2 * (140 + 240) * 0.64


def test_restoring_returns_a_copy():
    p = planned((224, 224), (224, 224), "letterbox")
    cells = label_pattern(224, 224)
    p.restore(cells)[:] = 9
    assert cells.max() < 9


@pytest.mark.parametrize(
    "mistake",
    [
        lambda p: p.place(Image.new("RGB", (480, 640))),
        lambda p: p.place_labels(np.zeros((640, 480), np.uint8)),
        lambda p: p.restore(np.zeros((320, 224), np.uint8)),
        lambda p: Placement.plan((0, 5), p.spec),
    ],
    ids=["picture", "mask", "grid", "nothing"],
)
def test_sizes_that_do_not_fit_are_refused(mistake):
    with pytest.raises(ConfigError):
        mistake(planned((640, 480), (224, 320), "letterbox"))


def test_resizing_labels_never_invents_a_label():
    labels = np.array([[0, IGNORE], [7, 0]], np.uint8)
    for height, width in ((1, 1), (3, 5), (9, 2)):
        assert set(np.unique(resize_labels(labels, height, width))) <= {0, 7, IGNORE}


# --- golden grids -----------------------------------------------------------------------------


def photo(mode, size):
    """The pattern in one of Pillow's modes."""
    pixels = pattern(*size)
    match mode:
        case "I;16":
            wide = pixels[..., 0].astype(np.uint16) * 256 + pixels[..., 1]
            return Image.fromarray(wide)
        case "P":
            picture = Image.frombytes("P", size, pixels[..., 2].tobytes())
            picture.putpalette(pattern(256, 1).tobytes())
            return picture
        case "RGBA" | "CMYK":
            return Image.frombytes(mode, size, np.dstack([pixels, pixels[..., :1]]).tobytes())
        case "LA":
            return Image.frombytes(mode, size, np.ascontiguousarray(pixels[..., :2]).tobytes())
        case "L":
            return Image.fromarray(pixels[..., 1])
    return Image.fromarray(pixels)


# The SHA-256 of each grid. Every machine and every supported Pillow must give these bytes, since
# a model's masks must be the same everywhere.
GOLDEN = {
    ("RGB", (640, 480), "letterbox", "bilinear"): (
        "a687d42e740e63cbffab74b93a483665a3190ec669afa3b0d1d0c32441874e9d"
    ),
    ("RGB", (640, 480), "letterbox", "bicubic"): (
        "e8ce6d2ea9bef24b8bc2b9ef4616817659bd72ee67aa97c2e1b4583f467d3b02"
    ),
    ("RGB", (640, 480), "letterbox", "box"): (
        "47fefef82410167715558ee6c7d8a0463b788c8604d8314020c8765de4554aa8"
    ),
    ("RGB", (640, 480), "stretch", "bilinear"): (
        "3bfa385af61526d96af91bb269d5005a2146f66316539d61c853acbe7c422987"
    ),
    ("RGB", (640, 480), "stretch", "bicubic"): (
        "09af868485e68572b267e52353aef8b1ef79f9f89c4644664786dbfc30ef7fdb"
    ),
    ("RGB", (640, 480), "stretch", "box"): (
        "2a636c83b7bde9af957a4c0f85405005e560efcdf163403ac0af5abae8b64bb8"
    ),
    ("RGB", (300, 700), "letterbox", "bilinear"): (
        "004372444347067d8e564b58d5e121b12edb4e2f39b66a0b25b5a527dd36eafd"
    ),
    ("RGB", (300, 700), "letterbox", "bicubic"): (
        "ad1201f8e98c5fbd09cffc2b03e4d9fb934b46cc87b023e986d5322a4329ec88"
    ),
    ("RGB", (300, 700), "letterbox", "box"): (
        "05a3143df2475c4c15d094d5ee10c1b33571b34e0d3d43652b0f4d3b97d12735"
    ),
    ("RGB", (300, 700), "stretch", "bilinear"): (
        "7a84f860fb4769121f5c083938467dfe5841267ff4294e31deaf1f122e9a977b"
    ),
    ("RGB", (300, 700), "stretch", "bicubic"): (
        "ed183ae568883b55c7ddcc2b13999613ac9b55ec210a5895a85017ef9565dd1b"
    ),
    ("RGB", (300, 700), "stretch", "box"): (
        "afcd2d1ef21d7a02f9f8e5f1cd67f44d006a1e49b9a68a0bac3ecbada60d7ee4"
    ),
    ("RGB", (50, 40), "letterbox", "bilinear"): (
        "f3c65aabb54043f12a3a93d7a50b84da43721ccd410bc9bb72ad59436c0f968e"
    ),
    ("RGB", (50, 40), "letterbox", "bicubic"): (
        "ebb7aaffd07d1368562d69ee1b8d01203e06f423ebff469d3fde5b73adab0f95"
    ),
    ("RGB", (50, 40), "letterbox", "box"): (
        "612c5def567f5654ced0fc02614bf585b3f28b229ba80eaf1791cc5e05fd6925"
    ),
    ("RGB", (50, 40), "stretch", "bilinear"): (
        "4a6bf6943492f669b4b0a1ac538ed79dfc77a8d376805930d6e45aecaaad4aa8"
    ),
    ("RGB", (50, 40), "stretch", "bicubic"): (
        "f971dccd306f95df652c08f5b3fcecccc70f1c652191b805f748ebc83a2512ce"
    ),
    ("RGB", (50, 40), "stretch", "box"): (
        "bf178111ca64a32f5e2bdb82c59b09c04fb2de7b31fd7fdecf9875642d7b7a79"
    ),
    ("L", (401, 263), "letterbox", "bilinear"): (
        "6355cfef95f623b1644e29d1b1551d31ec456f6c38fc15e48feb1714f1628beb"
    ),
    ("LA", (401, 263), "letterbox", "bilinear"): (
        "418c9cda61d6e402d1333b01d47aef3bd7f1e30c7964ea65379e89e2ce246f84"
    ),
    ("P", (401, 263), "letterbox", "bilinear"): (
        "740bf813b84664949553bf01011683b15088e8a8b85fc68e403b88fbc46e244b"
    ),
    ("RGBA", (401, 263), "letterbox", "bilinear"): (
        "7267a6405667546d1bc7acc6f106e7b4ebad4c4ba994c193d61d3eac03270f74"
    ),
    ("CMYK", (401, 263), "letterbox", "bilinear"): (
        "452e5310e7f788a3e099535e0daa0617e075ea8af865374d9f342656b0ae4053"
    ),
    ("I;16", (401, 263), "letterbox", "bilinear"): (
        "34e9106cb04273606286c3f3b6f862978fc2cc30404ea14ea37ae94dcda83188"
    ),
}


@pytest.mark.parametrize(("case", "digest"), GOLDEN.items(), ids=str)
def test_grids_have_the_same_bytes_on_every_machine(case, digest):
    mode, size, fit, resample = case
    grid = place(decode(photo(mode, size)), spec_of(fit=fit, resample=resample))
    assert hashlib.sha256(grid.tobytes()).hexdigest() == digest
