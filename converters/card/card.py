"""The model card: a bundle's README.md, written from its manifest, and the card's pictures.

The card holds no date, no path and no name of a picture. So the same export gives the same card,
and a bundle does not reveal where it was made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import assert_never

from tabulate import tabulate

from converters.card.latency import Latency
from converters.card.pictures import GoldenRow, golden_rows, legend
from unet_edge.benchmarking.tables import number
from unet_edge.bundle.bundle import Bundle
from unet_edge.bundle.manifest import CardFile, Choice
from unet_edge.percent import percent
from unet_edge.spec import Output
from unet_edge.system.counting import counted
from unet_edge.system.files import sha256

CARD = "README.md"
_CLASSES = "card/classes.png"

_COMMANDS = """\
unet-edge inspect .                                    # every digest, and what runs each file
unet-edge verify .                                     # the same masks on this machine?
unet-edge segment . golden/01.png -o ../masks          # or your own photos, or a folder of them
unet-edge benchmark . -o ../benchmark.json             # what each file costs on this machine
"""
_PYTHON = """\
from unet_edge import Segmenter

mask = Segmenter.open(".").segment("golden/01.png")
print(mask.coverage())
"""


def with_card(
    bundle: Bundle,
    models: Mapping[str, bytes],
    golden: Sequence[tuple[bytes, bytes]],
    latency: Latency | None = None,
) -> tuple[Bundle, list[bytes]]:
    """Write the card, and measure the files on the golden pictures.

    `models` and `golden` are those of `write_bundle`. Returns the bundle with `golden_agreement`
    and `card` set, and the bytes of the files that `card` names.
    """
    rows, agreements = golden_rows(bundle, models, golden)
    bundle = dataclasses.replace(
        bundle,
        files=tuple(
            dataclasses.replace(entry, golden_agreement=agreements[entry.name])
            for entry in bundle.files
        ),
    )
    contents = {CARD: card_text(bundle, rows, latency).encode()}
    contents[_CLASSES] = legend(bundle.spec)
    contents |= {_picture(index): row.png for index, row in enumerate(rows)}
    card = tuple(CardFile(name, sha256(data)) for name, data in contents.items())
    return dataclasses.replace(bundle, card=card), list(contents.values())


_OUTPUTS: dict[Output, str] = {
    "logits": "scores (logits) of each class",
    "labels": "the class of each pixel, no scores",
}


def card_text(bundle: Bundle, rows: Sequence[GoldenRow], latency: Latency | None) -> str:
    """The card as Markdown; `rows` are those of the bundle's golden pictures."""
    parts = [
        f"# {_plain(bundle.spec.name)}",
        f"A segmentation model: it gives each pixel of a picture one of {len(bundle.spec.classes)} "
        "classes. Written by `unet-edge export`; every figure was measured by it.",
        "## Model",
        *_model(bundle),
        "## Data",
        _data(bundle),
        "## How well it segments",
        *_quality_section(bundle),
        "## Files",
        "*As Keras* is the share of pixels whose class is the Keras model's own, over the "
        "held-out pictures; the *floor* is what was asked for.",
        _files(bundle),
        "## Latency",
        _latency(bundle, latency),
        "## Golden pictures",
        "Hard ones, with the Keras model's masks, so that any machine can repeat the proof. In "
        "red, enlarged: pixels where the file that differs most has another class than Keras.",
        *_golden_pictures(bundle, rows),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(bundle)),
        "## Licence",
        _licence(bundle.license),
        "## Run it",
        "With unet-edge and an interpreter installed (its README says how), in this folder:",
        f"```sh\n{_COMMANDS}```",
        f"```python\n{_PYTHON}```",
    ]
    return "\n\n".join(parts) + "\n"


def _model(bundle: Bundle) -> list[str]:
    """The model's facts, and its classes with their colours."""
    spec, reference = bundle.spec, bundle.reference
    grid = f"{spec.height}x{spec.width} px (height x width)"
    fitted = {"letterbox": "scaled and padded", "stretch": "stretched"}[spec.fit]
    facts = [
        ("network", _plain(reference.network or "not stated")),
        ("parameters", f"{reference.parameters:,}"),
        ("input", f"{grid}, RGB uint8; pictures of other sizes are {fitted}"),
    ]
    if spec.decoding == "scaled":
        facts.append(("decoding", "large JPEG photos are reduced by the decoder, by 2, 4 or 8"))
    facts.append(("output", f"{_OUTPUTS[spec.output]}; masks have the picture's own size"))
    classes = [
        (index, _plain(name), f"`#{bytes(color).hex()}`")
        for index, (name, color) in enumerate(zip(spec.classes, spec.palette, strict=True))
    ]
    return [
        _table(["", ""], facts),
        _table(["class", "name", "colour"], classes),
        f"![The classes in their colours]({_CLASSES})",
    ]


def _data(bundle: Bundle) -> str:
    data, used = bundle.data, bundle.reference.pictures
    if not data.train:  # an imported model, or photos without masks
        return (
            "The pictures that trained this model are not recorded here. The files were proven on "
            f"{used} of {counted(data.validation, 'picture')}. "
            f"{_calibration(data.calibration, 'other pictures')}"
        )
    return (
        f"Trained on {counted(data.train, 'picture')}; {data.validation} were held "
        f"out (validation), of which {used} were used for the figures here. "
        f"{_calibration(data.calibration, 'the training pictures')}"
    )


def is_labelled(bundle: Bundle) -> bool:
    """Whether the export had true labels, so that the bundle has figures against them."""
    return bundle.reference.label_iou is not None


def _quality_section(bundle: Bundle) -> list[str]:
    if not is_labelled(bundle):
        return [
            "Not measured: the pictures of this export had no true labels. They prove that the "
            "files give Keras' masks, and not that these masks are right."
        ]
    return [
        "IoU against the true labels of the held-out pictures, all pixels counted together.",
        _quality(bundle),
        *_test_split(bundle),
    ]


def _golden_pictures(bundle: Bundle, rows: Sequence[GoldenRow]) -> list[str]:
    return [
        f"![Golden picture {index + 1}]({_picture(index)})\n\n"
        f"`{golden.picture}`: {_why(golden.chosen)}. `{row.worst_file}` differs most: "
        f"{percent(row.agreement)} % as Keras."
        for index, (golden, row) in enumerate(zip(bundle.golden, rows, strict=True))
    ]


def _quality(bundle: Bundle) -> str:
    columns = [bundle.reference.label_iou, *(entry.label_iou for entry in bundle.files)]
    means = [bundle.reference.label_miou, *(entry.label_miou for entry in bundle.files)]
    rows = [
        (_plain(name), *(_score(None if ious is None else ious[index]) for ious in columns))
        for index, name in enumerate(bundle.spec.classes)
    ]
    rows.append(("mean", *map(_score, means)))
    return _table(["class", "Keras", *(entry.name for entry in bundle.files)], rows)


def _test_split(bundle: Bundle) -> list[str]:
    """The table of `_quality` for the test pictures; empty without a test split."""
    test = bundle.test
    if test is None:
        return []
    columns = [test.keras, *test.files]
    rows = [
        (_plain(name), *(_score(column.label_iou[index]) for column in columns))
        for index, name in enumerate(bundle.spec.classes)
    ]
    rows.append(("mean", *(_score(column.label_miou) for column in columns)))
    shares = (f"{percent(f.agreement)} %" for f in test.files if f.agreement is not None)
    rows.append(("as Keras", "–", *shares))
    count = f"{test.pictures} of the {test.of}" if test.pictures < test.of else f"the {test.of}"
    pictures = "test picture" if test.of == 1 else "test pictures"
    return [
        f"IoU over {count} {pictures}. The model was not trained on them, and they chose "
        "neither its best round nor any file: quote these figures.",
        _table(["class", "Keras", *(entry.name for entry in bundle.files)], rows),
    ]


def _files(bundle: Bundle) -> str:
    rows = [
        (
            entry.name,
            entry.precision,
            number(entry.bytes / 1e6),
            f"{percent(entry.agreement)} %",
            f"{percent(entry.worst)} %",
            f"{percent(entry.floor)} %",
            "yes" if entry.kept_floor else "**NO**",
            *([_score(entry.label_miou)] if is_labelled(bundle) else []),
            f"`{entry.sha256[:12]}`",
        )
        for entry in bundle.files
    ]
    headers = ["file", "precision", "MB", "as Keras", "worst picture", "floor", "kept"]
    quality = ["mIoU"] if is_labelled(bundle) else []
    return _table([*headers, *quality, "SHA-256"], rows)


def _latency(bundle: Bundle, latency: Latency | None) -> str:
    times = latency.p50_ms if latency else {}
    rows = [
        (entry.name, number(times[entry.sha256])) for entry in bundle.files if entry.sha256 in times
    ]
    if latency is None or not rows:
        return "Not measured; run `unet-edge benchmark . -o ../benchmark.json` where it will run."
    return (
        f"Median from picture file to mask on {_plain(latency.machine)}, "
        f"{counted(latency.threads, 'thread')}, {counted(latency.pictures, 'picture')}, "
        f"{_plain(latency.date)}.\n\n" + _table(["file", "ms"], rows)
    )


def _limits(bundle: Bundle) -> list[str]:
    """The limits of use: first those that were measured, then those of any model."""
    spec, ious = bundle.spec, bundle.reference.label_iou or ()
    measured = [
        f"`{e.name}` is under its floor; do not use it." for e in bundle.files if not e.kept_floor
    ]
    scored = [(iou, name) for iou, name in zip(ious, spec.classes, strict=False) if iou is not None]
    if scored:
        iou, name = min(scored)
        measured.append(f"The class it finds worst is {_plain(name)}, IoU {iou:.4f}.")
    missing = [_plain(name) for iou, name in zip(ious, spec.classes, strict=False) if iou is None]
    if missing:
        measured.append(
            f"No held-out picture shows {', '.join(missing)}: nothing is known of that."
        )
    if bundle.reference.worst_miou is not None:
        measured.append(
            f"On its worst held-out picture Keras itself reaches an mIoU of "
            f"{bundle.reference.worst_miou:.4f}."
        )
    file = min(bundle.files, key=lambda entry: entry.worst)
    measured.append(
        f"The worst picture of any file has {percent(file.worst)} % of its pixels as Keras "
        f"(`{file.name}`)."
    )
    return [
        *measured,
        f"The figures are of {counted(bundle.reference.pictures, 'picture')} of one data set. Of "
        "pictures taken otherwise, by another camera or of other things, they say nothing.",
        *_limit_of_training(bundle),
        "Every pixel gets one of the classes, also where the picture shows none of them.",
        f"A picture is looked at with {spec.height}x{spec.width} px: what is thinner than a pixel "
        "there is lost, and borders are no finer.",
        "int8 files round otherwise on other processors; `unet-edge verify .` measures it.",
        "The golden pictures are copies of held-out pictures: who gets this folder gets them.",
    ]


def _why(chosen: Choice) -> str:
    """The reason for choosing a golden picture, as a phrase."""
    figure = chosen.figure
    if figure is None:
        return "one without true labels"
    match chosen.reason:
        case "agreement":
            return f"one of those where `{chosen.file}` agrees least, {percent(figure)} % as Keras"
        case "miou":
            return f"one of those that Keras itself gets most wrong, mIoU {figure:.4f}"
        case "near-ties":
            return f"one of those with most near-ties, {figure:.2%} of the pixels"
        case "typical":
            return f"a typical one, near the median mIoU, {figure:.4f}"
        case _:
            assert_never(chosen.reason)


def _licence(text: str | None) -> str:
    if text is None:
        return (
            "Not stated. Ask who made this bundle; they state it with "
            "`unet-edge export --license TEXT`."
        )
    return _plain(text)


def _calibration(pictures: int, of: str) -> str:
    if not pictures:
        return "No file was calibrated."
    which = f"of {of}" if of.startswith("the ") else of
    return f"{pictures} {which} scaled the calibrated files."


def _limit_of_training(bundle: Bundle) -> list[str]:
    """What figures over the held-out pictures are worth."""
    if not is_labelled(bundle):
        return []
    if not bundle.data.train:
        return [
            "Whether the model was trained on the pictures of these figures is not known; if it "
            "was, they are too good."
        ]
    return [
        "Training keeps its best round by the held-out (validation) pictures, so figures over them "
        "are a little too good."
    ]


def _picture(index: int) -> str:
    return f"card/{index + 1:02d}.png"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _plain(text: str) -> str:
    """The text in one line, escaped so that Markdown shows it literally."""
    for character in "\\`*_[]<>#|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [[str(cell) for cell in row] for row in rows]
    return tabulate(cells, headers, tablefmt="github", disable_numparse=True)
