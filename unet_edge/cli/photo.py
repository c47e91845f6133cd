"""One photo for `unet-edge segment`: from a file or standard input, to its results."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from unet_edge.batch.outputs import PhotoKind, Segmented, contents
from unet_edge.cli.group import open_model
from unet_edge.cli.output import print_note
from unet_edge.errors import ConfigError, DataError, ImageError, OutputError
from unet_edge.images.decoding import Photo, depth_warning, file_bits, read_photo
from unet_edge.images.picture_file import count_frames, has_pages
from unet_edge.system.progress import progress_bar

if TYPE_CHECKING:
    from unet_edge.cli.group import ModelOptions
    from unet_edge.masks.mask import LegendPlace
    from unet_edge.masks.upsampling import Edges
    from unet_edge.runtime.segmenter import Segmenter
    from unet_edge.runtime.tile_settings import Tiles
    from unet_edge.runtime.tiling import Watch

STREAM = Path("-")
"""Standard input among the pictures, standard output in place of a folder."""

_STDIN_NAME = "standard input"

_STREAMED = [kind for kind in get_args(PhotoKind) if kind != "probabilities"]
"""The kinds of output that are one file of one photo."""


@dataclass(frozen=True)
class PhotoOptions:
    """The options of `segment` that hold for every photo; `kinds` are those of --save.

    `frames`: every page or frame of a file is a photo, not only the first.
    """

    kinds: tuple[str, ...]
    edges: Edges
    tiles: Tiles | None
    legend: LegendPlace
    frames: bool = False

    @property
    def photo_kinds(self) -> list[PhotoKind]:
        """The kinds that are files of each photo."""
        return [cast(PhotoKind, kind) for kind in self.kinds if kind in get_args(PhotoKind)]

    @property
    def with_probabilities(self) -> bool:
        """Whether the probability of each class is saved."""
        return "probabilities" in self.kinds

    @property
    def need_scores(self) -> bool:
        """Whether these options need scores, which a file of labels does not give."""
        return self.edges == "smooth" or self.tiles is not None or self.with_probabilities


def require_scores(segmenter: Segmenter, options: PhotoOptions) -> None:
    """Raise BackendError before the first photo if the file gives labels and scores are needed."""
    if segmenter.spec.output == "labels" and options.need_scores:
        from unet_edge.runtime.backends.backend import no_scores

        raise no_scores()


def frames_note(name: str, frames: int) -> str:
    """The note about a picture of several frames."""
    has_fix = name == _STDIN_NAME or has_pages(Path(name))
    fix = "; for all of them, add --frames" if has_fix else ""
    return f"{name}: {frames} frames; only the first is used{fix}"


def segment_photo(
    segmenter: Segmenter, source: Path | bytes, name: str, options: PhotoOptions, watch: Watch
) -> Segmented:
    """Segment a photo, called `name` in its results. Raises ImageError if it cannot be read."""
    if options.tiles is None:
        result = _segment_at_once(segmenter, source, name, options)
    else:
        result = _segment_in_tiles(segmenter, source, name, options, options.tiles, watch)
    return replace(result, legend=options.legend)


def _segment_at_once(
    segmenter: Segmenter, source: Path | bytes, name: str, options: PhotoOptions
) -> Segmented:
    photo = read_photo(source, segmenter.spec)
    _warn_of_few_bits(source, name, segmenter, photo)
    # The mask must not depend on what is saved. So a reduced photo is read again at its own size,
    # and only where it is drawn on.
    drawn_on = photo.picture if photo.is_full_size else source
    if options.edges == "nearest" and not options.with_probabilities:
        return Segmented(drawn_on, segmenter.segment(photo), None, name)
    prediction = segmenter.predict(photo)
    probabilities = prediction.probabilities(options.edges) if options.with_probabilities else None
    return Segmented(drawn_on, prediction.mask(options.edges), probabilities, name)


def _segment_in_tiles(
    segmenter: Segmenter,
    source: Path | bytes,
    name: str,
    options: PhotoOptions,
    tiles: Tiles,
    watch: Watch,
) -> Segmented:
    image: Path | bytes | Photo = source
    if not _few_bits.is_set() and file_bits(source) > 8:  # not a JPEG, so never reduced
        image = read_photo(source, segmenter.spec)
        _warn_of_few_bits(source, name, segmenter, image)
    # The photo is read again where it is drawn on, which costs far less than its tiles.
    if not options.with_probabilities:
        mask = segmenter.segment(image, edges=options.edges, tiles=tiles, watch=watch)
        return Segmented(source, mask, None, name)
    prediction = segmenter.predict_tiles(image, tiles, edges=options.edges, watch=watch)
    return Segmented(source, prediction.mask, prediction.probabilities, name)


# The warning about few bits is printed once in a run: pictures of one camera are alike.
_few_bits = threading.Event()
_warning_lock = threading.Lock()


def _warn_of_few_bits(source: Path | bytes, name: str, segmenter: Segmenter, photo: Photo) -> None:
    depth = segmenter.spec.bit_depth
    if _few_bits.is_set() or not (warning := depth_warning(source, depth, photo.picture)):
        return
    with _warning_lock:  # several threads segment photos; one of them prints it
        if not _few_bits.is_set():
            _few_bits.set()
            print_note(f"warning: {name} {warning}")


def forget_warnings() -> None:
    """Begin a run: warnings that are printed once in a run are printed again."""
    _few_bits.clear()


@contextlib.contextmanager
def tile_bar(name: str, check: Callable[[], None], *, shown: bool) -> Iterator[Watch]:
    """Give a function that calls `check` after each tile, and advances a progress bar if `shown`.

    The bar appears after two seconds, on a terminal only.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total: check()
        return  # without tqdm, which imports multiprocessing
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
    options: PhotoOptions,
    model_options: ModelOptions,
    as_json: bool,
) -> None:
    """Segment one photo, from a file or standard input, to one file on standard output."""
    image, kind = _require_stream(images, output, options, as_json)
    source: Path | bytes = image
    if image == STREAM:
        source = _standard_input()
    elif not image.is_file():
        raise DataError(f"no such picture: {image}")
    if (frames := count_frames(source)) > 1:
        print_note(frames_note(_STDIN_NAME if image == STREAM else str(image), frames))
    segmenter = open_model(model, *model_options)
    require_scores(segmenter, options)
    with tile_bar(image.name, lambda: None, shown=options.tiles is not None) as watch:
        try:
            result = segment_photo(segmenter, source, image.name, options, watch)
        except ImageError as error:
            raise _for_stream(error, image) from error
    (write,) = contents([kind], result)
    try:
        write(sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write to standard output: {error.strerror or error}") from error


def _require_stream(
    images: Sequence[Path], output: Path, options: PhotoOptions, as_json: bool
) -> tuple[Path, PhotoKind]:
    """The picture and the kind of output. Raises ConfigError if they do not fit one stream."""
    if output != STREAM:
        raise ConfigError(
            f"the picture is on standard input, and the results go to {output}",
            fix="add -o -, or for pictures one after another --frames",
        )
    if len(images) != 1:
        raise ConfigError(f"{len(images)} pictures for -o -", expected="-o - takes one picture")
    if options.frames:
        raise ConfigError(
            "--frames gives several files", expected="-o - takes one", fix="name a folder with -o"
        )
    if len(options.kinds) != 1 or options.kinds[0] not in _STREAMED:
        raise ConfigError(
            f"--save {','.join(options.kinds)} cannot go to standard output",
            expected="-o - takes one file of one photo",
            fix=f"choose one of {', '.join(_STREAMED)}",
        )
    if as_json:
        raise ConfigError("-o - and --json both write to standard output", fix="leave one out")
    return images[0], cast(PhotoKind, options.kinds[0])


def _for_stream(error: ImageError, image: Path) -> ImageError:
    """The error, with the fix for raw frames if their bytes are on standard input."""
    if image != STREAM or error.fix:
        return error
    fix = "for raw frames, give --frame-size and --pixel-format"
    return ImageError(error.found, expected=error.expected, fix=fix, subject=error.subject)


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as error:  # closed, or a folder
        raise DataError(
            f"cannot read standard input ({error.strerror or error})",
            fix="give a photo's bytes, as in '< photo.jpg'",
        ) from error
