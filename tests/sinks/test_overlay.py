"""Overlays drawn into YUV planes look like those drawn over RGB pictures."""

from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from unet_edge.runtime.grid_labels import GridLabels
from unet_edge.runtime.stream import SegmentedFrame
from unet_edge.sinks.overlay import overlay_frame, yuv_of
from unet_edge.spec import ModelSpec
from unet_edge.streams.frame import Frame
from unet_edge.streams.frame_pixels import rgb_picture
from unet_edge.streams.yuv_colors import YuvColors

av = pytest.importorskip("av", reason="no PyAV, as on a device without video")

SPEC = ModelSpec(32, 32, ("background", "cell", "nucleus"))
TAGS = {"bt709": 1, "bt601": 6, "bt2020": 9, "smpte240m": 7, "fcc": 4}  # AVCOL_SPC_*


def rgb_pixels(frame):
    return np.asarray(rgb_picture(frame))


def grid_of(size, spec=SPEC):
    """Two rectangles on a grid; each label's edges are at whole cells."""
    labels = np.zeros((18, 32), np.uint8)
    labels[3:12, 4:20] = 1
    labels[8:16, 15:30] = 2
    return GridLabels(size, labels, spec)


def smooth_pixels(size):
    """A picture whose colours change slowly, so that 4:2:0 keeps them."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return np.stack([60 + 140 * x, 60 + 140 * y, 200 - 140 * x], axis=-1).astype(np.uint8)


def result_of(size, form="yuv420p", matrix="bt709", full=False, spec=SPEC, native=True):
    pixels = smooth_pixels(size)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
        format=form,
        dst_colorspace={"bt709": 1, "bt601": 5, "bt2020": 9, "smpte240m": 7, "fcc": 4}[matrix],
        dst_color_range=2 if full else 1,
    )
    frame.colorspace, frame.color_range = TAGS[matrix], 2 if full else 1
    frame.pts, frame.time_base = 7, Fraction(1, 25)
    source = Frame(
        0, 7, Fraction(1, 25), 0.0,
        (lambda: rgb_pixels(frame)) if native else lambda: pixels,
        frame if native else None,
    )  # fmt: skip
    return SegmentedFrame(source, grid_of(size, spec), {}, 0.0, None)


def difference(result, legend="none"):
    """How far the RGB of the overlay is from `Mask.lay_over` on the frame's RGB, by pixel."""
    drawn = rgb_pixels(overlay_frame(result, legend))
    pixels = np.ascontiguousarray(result.frame.image)
    expected = np.asarray(result.mask.lay_over(Image.fromarray(pixels), legend=legend))
    height, width = expected.shape[:2]
    return np.abs(drawn[:height, :width].astype(int) - expected).max(axis=-1)


def inside(result):
    """The pixels that are 3 px or more away from edges of classes, which chroma blurs."""
    labels = result.mask.labels
    away = np.ones(labels.shape, bool)
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            away &= labels == np.roll(labels, (dy, dx), (0, 1))
    return away


# Y, U and V are rounded twice: by at most 1/2 when the class's colour becomes YUV, which the blend
# halves, and by at most 1/2 in the mean. That is 3/4 each. A step of Y is 255 / 219 = 1.16 of RGB,
# one of U at most 255 / 224 * 2 * (1 - 0.0593) = 2.14 of blue, together 2.5. The RGB of the
# overlay is rounded by 1/2; that of the plain frame too, which Pillow's blend halves and rounds by
# another 1/2. Pillow blends by 128 / 255 and not 1/2, which is 1/2 of a difference of 255. swscale
# computes with integers, for 1 of the overlay and 1/2 of the blended frame. The sum is below 6.
TOLERANCE = 6


@pytest.mark.parametrize("matrix", TAGS)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_overlays_in_every_matrix_and_range_look_like_those_over_rgb(matrix, full):
    result = result_of((256, 144), matrix=matrix, full=full)
    away = difference(result)[inside(result)]
    assert away.max() <= TOLERANCE
    # The mask is there: half the way to the class's colour, over 40 of 255 on most of it.
    covered = (result.mask.labels > 0) & inside(result)
    plain = np.ascontiguousarray(result.frame.image).astype(int)
    drawn = rgb_pixels(overlay_frame(result, "none"))[:144, :256]
    assert np.abs(drawn - plain).max(axis=-1)[covered].min() > 20
    clear = (result.mask.labels == 0) & inside(result)
    assert np.array_equal(drawn[clear], plain[clear])


@pytest.mark.parametrize("form", ["yuv422p", "yuv444p", "nv12", "yuv420p10le", "gray"])
def test_other_formats_become_yuv420p(form):
    result = result_of((256, 144), form=form)
    frame = overlay_frame(result, "none")
    assert frame.format.name == "yuv420p"
    # Fewer bits or chroma samples round once more: 1/2 of Y and of V, 1.7 of RGB.
    assert difference(result)[inside(result)].max() <= TOLERANCE + 2


def test_frames_of_rgb_are_drawn_on_too():
    result = result_of((256, 144), native=False)
    # RGB becomes YUV first, by rounding of at most 1/2 each: 1.16 / 2 + 2.14 / 2.
    assert difference(result)[inside(result)].max() <= TOLERANCE + 2


def test_overlays_keep_time_and_tags_of_colour():
    frame = overlay_frame(result_of((256, 144), matrix="bt601", full=True))
    assert (frame.pts, frame.time_base) == (7, Fraction(1, 25))
    assert (int(frame.colorspace), int(frame.color_range)) == (TAGS["bt601"], 2)


def test_the_decoders_frame_is_not_drawn_into():
    result = result_of((256, 144))
    before = result.frame.native.to_ndarray().copy()
    overlay_frame(result)
    assert np.array_equal(result.frame.native.to_ndarray(), before)


def test_odd_sides_grow_by_a_pixel_that_repeats_the_last_one():
    result = result_of((255, 143))
    frame = overlay_frame(result, "none")
    assert (frame.width, frame.height) == (256, 144)
    assert difference(result)[inside(result)].max() <= TOLERANCE
    luma = frame.to_ndarray()[:144]
    assert np.array_equal(luma[143], luma[142])
    assert np.array_equal(luma[:, 255], luma[:, 254])


def test_the_first_of_several_classes_is_drawn_unless_it_is_a_background():
    spec = ModelSpec(32, 32, ("road", "tree", "sky"))
    result = result_of((256, 144), spec=spec)
    assert difference(result)[inside(result)].max() <= TOLERANCE
    drawn = rgb_pixels(overlay_frame(result, "none"))
    assert np.abs(drawn.astype(int) - result.frame.image).max(axis=-1)[:20, :20].min() > 20


def test_the_legend_stands_in_its_corner_and_nowhere_else():
    result = result_of((640, 360))
    plain, drawn = (overlay_frame(result, legend).to_ndarray() for legend in ("none", "on"))
    rows, columns = np.nonzero((plain != drawn)[:360])
    # Two rows of 12 px letters, by the rule of draw_legend: 2 * 18 + 7 px high.
    assert rows.min() == 0
    assert rows.max() == 43
    assert columns.min() == 0
    assert 100 < columns.max() < 200
    # It is the photo's legend, but for the digits of a share. Chroma blurs edges, so compare the
    # inside of the first swatch, 6 to 18 px from the left, and the dark area beside it.
    away = difference(result, "on")
    assert away[9:15, 10:15].max() <= TOLERANCE
    assert away[2:40, :4].max() <= TOLERANCE


def test_a_mask_without_classes_leaves_the_frame_as_it_is():
    result = result_of((256, 144))
    empty = GridLabels((256, 144), np.zeros((18, 32), np.uint8), SPEC)
    drawn = overlay_frame(SegmentedFrame(result.frame, empty, {}, 0.0, None))
    assert np.array_equal(drawn.to_ndarray(), result.frame.native.to_ndarray())


def test_colours_become_yuv_as_the_standards_say():
    primaries = np.array([(255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)], np.uint8)
    # ITU-R BT.601 and BT.709, limited range: the bars of 100 % in every table of them
    expected = [(81, 90, 240), (41, 240, 110), (235, 128, 128), (16, 128, 128)]
    assert yuv_of(primaries, YuvColors("bt601", False)).tolist() == [list(e) for e in expected]
    expected = [(63, 102, 240), (32, 240, 118), (235, 128, 128), (16, 128, 128)]
    assert yuv_of(primaries, YuvColors("bt709", False)).tolist() == [list(e) for e in expected]
    # JFIF: full range of BT.601
    assert yuv_of(primaries, YuvColors("bt601", True))[0].tolist() == [76, 85, 255]
