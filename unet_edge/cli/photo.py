"""One photo for `unet-edge segment`: from a file or standard input, to its results."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from unet_edge.batch.outputs import PhotoKind, Segmented, contents
from unet_edge.cli.group import open_model
from unet_edge.cli.output import say
from unet_edge.errors import ConfigError, DataError, OutputError
from unet_edge.images.decoding import Photo, depth_warning, file_bits, read_photo
from unet_edge.images.picture_file import count_frames
from unet_edge.system.progress import progress_bar

if TYPE_CHECKING:
    from unet_edge.cli.group import Opening
    from unet_edge.masks.mask import LegendPlace
    from unet_edge.masks.upsampling import Edges
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.runtime.tiling import Tiles, Watch

STREAM = Path("-")
"""Standard input among the pictures, standard output as the place for a mask."""


def require_scores(
    segmenter: Segmenter, kinds: Sequence[str], edges: Edges, tiles: Tiles | None
) -> None:
    """Refuse a file of labels before the first picture, not at each."""
    needs_scores = edges == "smooth" or tiles is not None or "probabilities" in kinds
    if segmenter.spec.output == "labels" and needs_scores:
        from unet_edge.runtime.backends.backend import no_scores

        raise no_scores()


def only_first(name: str, frames: int) -> str:
    """What is said of a picture of several frames."""
    return f"{name}: {frames} frames; only the first is used"


def segmented(
    segmenter: Segmenter,
    source: Path | bytes,
    name: str,
    kinds: Sequence[str],
    edges: Edges,
    tiles: Tiles | None,
    watch: Watch,
) -> Segmented:
    """Segment a photo, called `name` in its results. Raises ImageError for one it cannot read."""
    if tiles is not None:
        image: Path | bytes | Photo = source
        if not _few_bits.is_set() and file_bits(source) > 8:  # no JPEG, so never reduced
            image = read_photo(source, segmenter.spec)
            _warn_of_few_bits(source, name, segmenter, image)
        # The photo is read once more where it is drawn on: far less than its tiles take.
        if "probabilities" not in kinds:
            mask = segmenter.segment(image, edges=edges, tiles=tiles, watch=watch)
            return Segmented(source, mask, None, name)
        found = segmenter.predict_tiles(image, tiles, edges=edges, watch=watch)
        return Segmented(source, found.mask, found.probabilities, name)
    photo = read_photo(source, segmenter.spec)
    _warn_of_few_bits(source, name, segmenter, photo)
    # What the model sees does not depend on what is saved, so the photo at its own size is read
    # from the file again, and only where it is drawn on.
    drawn_on = photo.picture if photo.is_full_size else source
    if edges == "nearest" and "probabilities" not in kinds:
        return Segmented(drawn_on, segmenter.segment(photo), None, name)
    prediction = segmenter.predict(photo)
    shares = prediction.probabilities(edges) if "probabilities" in kinds else None
    return Segmented(drawn_on, prediction.mask(edges), shares, name)


# Once a run: pictures of one camera are alike.
_few_bits = threading.Event()
_saying = threading.Lock()


def _warn_of_few_bits(source: Path | bytes, name: str, segmenter: Segmenter, photo: Photo) -> None:
    depth = segmenter.spec.bit_depth
    if _few_bits.is_set() or not (found := depth_warning(source, depth, photo.picture)):
        return
    with _saying:  # photos are worked on by several threads, and one of them says it
        if not _few_bits.is_set():
            _few_bits.set()
            say(f"warning: {name} {found}")


def forget_warnings() -> None:
    """Begin a run: what was said once is said again."""
    _few_bits.clear()


@contextlib.contextmanager
def tile_bar(name: str, check: Callable[[], None], *, shown: bool) -> Iterator[Watch]:
    """Checks after each tile; a bar of them, if they take over two seconds and somebody watches."""
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total: check()
        return  # before tqdm, which imports multiprocessing
    with progress_bar(0, name, delay=2) as bar:

        def watch(done: int, total: int) -> None:
            check()
            bar.total = total
            bar.update(done - bar.n)

        yield watch


def segment_stream(
    model: Path,
    images: Sequence[Path],
    output: Path,
    kinds: tuple[str, ...],
    edges: Edges,
    tiles: Tiles | None,
    legend: LegendPlace,
    how: Opening,
    as_json: bool,
) -> None:
    """One photo, from a file or standard input, to one file's bytes on standard output."""
    if output != STREAM:
        raise ConfigError("a picture from standard input goes to standard output: add -o -")
    if len(images) != 1:
        raise ConfigError(f"-o - takes one picture, not {len(images)}")
    if len(kinds) != 1 or kinds[0] not in set(get_args(PhotoKind)) - {"probabilities"}:
        raise ConfigError(f"-o - takes one file: --save {','.join(kinds)} would be several")
    if as_json:
        raise ConfigError(
            "-o - and --json would mix on standard output",
            fix="leave one out",
        )
    (image,) = images
    kind = cast(PhotoKind, kinds[0])
    source: Path | bytes = image
    if image == STREAM:
        source = _standard_input()
    elif not image.is_file():
        raise DataError(f"no such picture: {image}")
    if (frames := count_frames(source)) > 1:
        say(only_first("standard input" if image == STREAM else str(image), frames))
    segmenter = open_model(model, *how)
    require_scores(segmenter, kinds, edges, tiles)
    with tile_bar(image.name, lambda: None, shown=tiles is not None) as watch:
        result = segmented(segmenter, source, image.name, kinds, edges, tiles, watch)
    (write,) = contents([kind], replace(result, legend=legend))
    try:
        write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}") from error


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as error:  # closed, or a folder
        raise DataError(
            f"cannot read standard input ({error.strerror or error})",
            fix="give a photo's bytes, as in '< photo.jpg'",
        ) from error
