"""Every kind of damage, planted into a copy of sound data, is found, and nothing else is."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from unet_edge.dataset.check import check
from unet_edge.demo.cells import draw_cells

SIZE = 64
TRAIN = [f"t{i}" for i in range(6)]
VALIDATION = [f"v{i}" for i in range(3)]
CLASSES = ("cell", "membrane")


def write(root, scale):
    """Nine pictures and masks of 0 and `scale`, and lists."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for seed, name in enumerate([*TRAIN, *VALIDATION]):
        pixels, labels = draw_cells(SIZE, np.random.default_rng(seed))
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
        Image.fromarray(labels * np.uint8(scale)).save(root / "masks" / f"{name}.png")
    (root / "train.txt").write_text("\n".join(TRAIN))
    (root / "val.txt").write_text("\n".join(VALIDATION))
    return root


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Sound data sets by encoding."""
    root = tmp_path_factory.mktemp("sound")
    sets = {name: write(root / name, scale) for name, scale in (("index", 1), ("white", 255))}
    colored = shutil.copytree(sets["index"], root / "colored")
    table = np.array([(0, 0, 0), (200, 0, 40)], np.uint8)
    for path in (colored / "masks").iterdir():
        Image.fromarray(table[np.asarray(Image.open(path))]).save(path)
    (colored / "labelmap.txt").write_text("cell:0,0,0::\nmembrane:200,0,40::\n")
    labelme = shutil.copytree(sets["index"], root / "labelme")
    shutil.rmtree(labelme / "masks")
    for name in (*TRAIN, *VALIDATION):
        shape = {"label": "membrane", "shape_type": "rectangle", "points": [[5, 5], [40, 50]]}
        data = {"imageHeight": SIZE, "imageWidth": SIZE, "shapes": [shape]}
        (labelme / "images" / f"{name}.json").write_text(json.dumps(data))
    return {**sets, "colored": colored, "labelme": labelme}


@pytest.fixture
def copy(sound, tmp_path):
    return lambda encoding: shutil.copytree(sound[encoding], tmp_path / encoding)


def found(root, **options):
    """The kinds that were found with their severities and files."""
    report = check(root, classes=CLASSES, **options)
    return {(f.severity, f.kind, f.file.name) for f in report.findings}


@pytest.mark.parametrize("encoding", ["index", "white", "colored", "labelme"])
def test_sound_data_has_no_findings(sound, encoding):
    report = check(sound[encoding], classes=CLASSES)
    assert report.findings == ()
    assert (report.errors, report.warnings) == (0, 0)
    assert len(report.notes) == 3


# --- the damage -------------------------------------------------------------------------------


def image(root, name="t1"):
    return root / "images" / f"{name}.png"


def mask(root, name="t1"):
    return root / "masks" / f"{name}.png"


def edit(path, change, **options):
    """Save a picture again, changed."""
    with Image.open(path) as opened:
        picture = opened.copy()
    (change(picture) or picture).save(path, **options)


def set_values(path, change):
    values = np.array(Image.open(path))
    change(values)
    Image.fromarray(values).save(path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:300])


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def rotate_by_exif(root):
    """A landscape photo that EXIF turns upright, its mask drawn on what is stored."""
    edit(image(root), lambda p: p.crop((0, 0, SIZE, 40)), exif=exif(6))
    edit(mask(root), lambda p: p.crop((0, 0, SIZE, 40)))


def smooth(path):
    edit(path, lambda p: p.resize((SIZE // 2,) * 2).resize((SIZE,) * 2, Image.Resampling.BILINEAR))


def as_jpeg(path):
    Image.open(path).save(path, "JPEG", quality=60)


def duplicate(root, source, target):
    shutil.copy(image(root, source), image(root, target))


def resave(root, source, target):
    """The same scene again: smaller, relit and compressed."""
    picture = Image.open(image(root, source)).resize((48, 48))
    picture = ImageEnhance.Brightness(picture).enhance(1.1).resize((SIZE, SIZE))
    picture.save(image(root, target), "JPEG", quality=85)


def add_line(path, line):
    path.write_text(f"{path.read_text()}\n{line}\n")


def animate(path):
    first = Image.open(path).copy()
    first.save(path, "TIFF", save_all=True, append_images=[first.rotate(90)])


def sixteen_bit(path):
    grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(path)


def only_in(root, names):
    """Class 1 in the masks of these pictures only; the others lose their last trace of it."""
    for name in {*TRAIN, *VALIDATION} - set(names):
        set_values(mask(root, name), lambda v: v.fill(0))


def labelme_change(root, **changes):
    path = root / "images" / "t1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_lists(root):
    for name in ("train", "val"):
        (root / f"{name}.txt").unlink()


EMPTY = {("warning", "empty-mask", f"{name}.png") for name in (*TRAIN, *VALIDATION)}

DAMAGE = {
    "picture without mask": ("index", lambda r: mask(r).unlink(), "error missing-mask t1.png"),
    "picture without mask in a sub-folder": (
        "index",
        lambda r: (
            [shutil.move(r / f, r / f"{f}-") for f in ("images", "masks")],
            [shutil.copytree(r / f"{f}-", r / f / "deep") for f in ("images", "masks")],
            (r / "masks" / "deep" / "t1.png").unlink(),
        ),
        "error missing-mask t1.png",
    ),
    "unlisted picture without mask, no lists": (
        "index",
        lambda r: (without_lists(r), mask(r).unlink()),
        "error missing-mask t1.png",
    ),
    "mask without picture": (
        "index",
        lambda r: shutil.copy(mask(r), mask(r, "stray")),
        "warning missing-picture stray.png",
    ),
    "truncated picture": (
        "index",
        lambda r: truncate(image(r)),
        "error unreadable-picture t1.png",
    ),
    "empty picture": (
        "index",
        lambda r: image(r).write_bytes(b""),
        "error unreadable-picture t1.png",
    ),
    "truncated mask": (
        "index",
        lambda r: mask(r).write_bytes(mask(r).read_bytes()[:90]),
        "error unreadable-mask t1.png",
    ),
    "text for a mask": (
        "white",
        lambda r: mask(r).write_text("a mask"),
        "error unreadable-mask t1.png",
    ),
    "mask of another size": (
        "index",
        lambda r: edit(mask(r), lambda p: p.resize((SIZE, SIZE - 2))),
        "error size-mismatch t1.png",
    ),
    "0 and 255 among indices": (
        "index",
        lambda r: edit(mask(r), lambda p: p.point(lambda v: v * 255)),
        "error black-white-trap t1.png",
    ),
    "indices among 0 and 255": (
        "white",
        lambda r: edit(mask(r), lambda p: p.point(lambda v: v // 255)),
        "error mixed-encoding t1.png",
    ),
    "a coloured mask among indices": (
        "index",
        lambda r: edit(mask(r), lambda p: Image.merge("RGB", [p, p.point(lambda v: 0), p])),
        "error mixed-encoding t1.png",
    ),
    "a coloured mask among black and white": (
        "white",
        lambda r: edit(mask(r), lambda p: Image.merge("RGB", [p, p.point(lambda v: 0), p])),
        "error mixed-encoding t1.png",
    ),
    "smoothed mask": ("white", lambda r: smooth(mask(r)), "warning blurred-mask t1.png"),
    "mask saved as JPEG": ("white", lambda r: as_jpeg(mask(r)), "warning blurred-mask t1.png"),
    "a smoothed black-and-white mask among indices": (
        "index",
        lambda r: (edit(mask(r), lambda p: p.point(lambda v: v * 255)), smooth(mask(r))),
        "error blurred-mask t1.png",
    ),
    "smoothed colours": ("colored", lambda r: smooth(mask(r)), "error blurred-mask t1.png"),
    "index mask saved as JPEG": (
        "index",
        lambda r: (edit(mask(r), lambda p: p.point(lambda v: v * 90)), as_jpeg(mask(r))),
        "error blurred-mask t1.png",
    ),
    "value of no class": (
        "index",
        lambda r: set_values(mask(r), lambda v: v.__setitem__((0, 0), 7)),
        "error unknown-value t1.png",
    ),
    "colour of no class": (
        "colored",
        lambda r: set_values(mask(r), lambda v: v.__setitem__((0, 0), (1, 2, 3))),
        "error unknown-color t1.png",
    ),
    "background only": (
        "index",
        lambda r: set_values(mask(r), lambda v: v.fill(0)),
        "warning empty-mask t1.png",
    ),
    "ignored throughout": (
        "index",
        lambda r: set_values(mask(r), lambda v: v.fill(255)),
        "warning ignored-mask t1.png",
    ),
    "the same picture in both splits": (
        "index",
        lambda r: duplicate(r, "t1", "v0"),
        "error duplicate-across-splits v0.png",
    ),
    "nearly the same picture in both splits": (
        "index",
        lambda r: resave(r, "t1", "v0"),
        "warning near-duplicate v0.png",
    ),
    "the same picture twice in training": (
        "index",
        lambda r: duplicate(r, "t1", "t4"),
        "warning duplicate-in-split t4.png",
    ),
    "the same picture twice in validation": (
        "index",
        lambda r: duplicate(r, "v1", "v2"),
        "warning duplicate-in-split v2.png",
    ),
    "a listed picture that is not there": (
        "index",
        lambda r: add_line(r / "train.txt", "gone"),
        "error listed-missing train.txt",
    ),
    "one picture in both lists": (
        "index",
        lambda r: add_line(r / "train.txt", "v1"),
        "warning listed-in-both v1.png",
    ),
    "two pictures of one name": (
        "index",
        lambda r: shutil.copy(image(r), r / "images" / "t1.webp"),
        "error name-clash t1.webp",
    ),
    "picture turned by EXIF, mask not": (
        "index",
        rotate_by_exif,
        "error exif-rotation t1.png",
    ),
    "square picture turned by EXIF, mask not": (
        "index",
        lambda r: edit(image(r), lambda p: None, exif=exif(3)),
        "warning exif-rotation t1.png",
    ),
    "picture of one pixel": (
        "index",
        lambda r: edit(image(r), lambda p: p.resize((1, 1))),
        "error tiny-picture t1.png",
    ),
    "mask of one row": (
        "index",
        lambda r: edit(mask(r), lambda p: p.resize((SIZE, 1))),
        "error tiny-picture t1.png",
    ),
    "picture of one colour": (
        "index",
        lambda r: Image.new("RGB", (SIZE, SIZE), "navy").save(image(r)),
        "warning blank-picture t1.png",
    ),
    "16-bit picture": (
        "index",
        lambda r: sixteen_bit(image(r)),
        "warning sixteen-bit t1.png",
    ),
    "picture of several frames": (
        "index",
        lambda r: animate(image(r)),
        "warning several-frames t1.png",
    ),
    "mask of several pages": (
        "index",
        lambda r: animate(mask(r)),
        "warning several-frames t1.png",
    ),
    "broken JSON": (
        "labelme",
        lambda r: (r / "images" / "t1.json").write_text("{"),
        "error annotation t1.json",
    ),
    "a label of no class": (
        "labelme",
        lambda r: labelme_change(
            r, shapes=[{"label": "dog", "points": [[0, 0], [9, 9]], "shape_type": "rectangle"}]
        ),
        "error annotation t1.json",
    ),
    "annotation of another size": (
        "labelme",
        lambda r: labelme_change(r, imageWidth=SIZE + 1),
        "error size-mismatch t1.json",
    ),
    "annotation without shapes": (
        "labelme",
        lambda r: labelme_change(r, shapes=[]),
        "warning empty-mask t1.json",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_planted_damage_is_the_only_finding(copy, damage):
    encoding, plant, expected = DAMAGE[damage]
    root = copy(encoding)
    plant(root)
    assert {" ".join(finding) for finding in found(root)} == {expected}


def test_damage_of_one_picture_of_a_coco_file_names_that_picture(copy):
    root = copy("index")
    shutil.rmtree(root / "masks")
    names = [*TRAIN, *VALIDATION]
    box = [5, 5, 40, 5, 40, 50, 5, 50]
    images = [
        {"id": i, "file_name": f"{n}.png", "height": SIZE, "width": SIZE}
        for i, n in enumerate(names)
    ]
    regions = [
        {"id": i, "image_id": i, "category_id": 1, "segmentation": [box]} for i in range(len(names))
    ]
    data = {"images": images, "annotations": regions, "categories": [{"id": 1, "name": "membrane"}]}
    path = root / "annotations.json"
    path.write_text(json.dumps(data))
    assert found(root) == set()
    images[0]["width"] += 1
    regions[1]["segmentation"] = [[1, 2]]
    regions[7]["image_id"] = 8
    (root / "images" / "t5.png").unlink()
    (root / "train.txt").write_text("\n".join(TRAIN[:5]))
    path.write_text(json.dumps(data))
    assert found(root) == {
        ("error", "size-mismatch", "t0.png"),
        ("error", "annotation", "t1.png"),
        ("warning", "empty-mask", "v1.png"),
        ("error", "listed-missing", "annotations.json"),
    }


def test_all_damage_of_index_masks_at_once(copy):
    root = copy("index")
    mask(root, "t0").unlink()
    truncate(image(root, "t2"))
    set_values(mask(root, "t3"), lambda v: v.__setitem__((0, 0), 9))
    duplicate(root, "t4", "v0")
    assert found(root) == {
        ("error", "missing-mask", "t0.png"),
        ("error", "unreadable-picture", "t2.png"),
        ("error", "unknown-value", "t3.png"),
        ("error", "duplicate-across-splits", "v0.png"),
    }


# --- classes and splits -----------------------------------------------------------------------


def test_a_class_in_training_only(copy):
    root = copy("index")
    only_in(root, TRAIN)
    findings = found(root)
    assert ("warning", "class-in-one-split", "index") in findings
    assert {kind for _, kind, _ in findings} == {"class-in-one-split", "empty-mask"}


def test_a_class_that_nobody_drew(copy):
    root = copy("index")
    only_in(root, [])
    assert found(root) == EMPTY | {("error", "class-absent", "index")}


def test_black_and_white_masks_read_as_indices(copy):
    # The trap in full: every mask would train to black.
    root = copy("white")
    findings = found(root, masks="index")
    assert {kind for _, kind, _ in findings} == {"black-white-trap", "class-absent"}
    assert len(findings) == 9 + 1


def test_255_around_a_class_is_no_trap(copy):
    root = copy("index")
    set_values(mask(root, "t0"), lambda v: v.__setitem__((slice(0, 9), slice(0, 9)), 255))
    set_values(mask(root, "t1"), lambda v: (v.fill(0), v.__setitem__((0, 0), 255)))
    assert found(root) == {("warning", "empty-mask", "t1.png")}


def test_upside_down_pictures_whose_masks_are_turned_too_are_sound(copy):
    root = copy("index")
    for path in (image(root), mask(root)):
        edit(path, lambda p: None, exif=exif(3))
    assert found(root) == set()


def test_a_rotated_photo_with_a_mask_of_its_shown_size_has_no_findings(copy):
    root = copy("index")
    edit(image(root), lambda p: p.crop((0, 0, SIZE, 40)), exif=exif(6))
    edit(mask(root), lambda p: p.crop((0, 0, 40, SIZE)))
    assert found(root) == set()


def test_duplicates_name_both_pictures_by_their_paths(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for name in ("train/a", "train/b", "val/c"):
        for folder, values in (("images", picture), ("masks", picture[..., 0] % 2)):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(tmp_path / folder / f"{name}.png")
    report = check(tmp_path, classes=("background", "cat"))
    twins = {f.kind: f.found for f in report.findings if f.kind.startswith("duplicate")}
    assert twins == {
        "duplicate-in-split": "is the same picture as images/train/a.png",
        "duplicate-across-splits": "is the same picture as images/train/a.png, which is trained on",
    }


def test_neighbouring_slices_are_no_duplicates(copy):
    # Half of what one shows is in the other: consecutive slices of a stack share less.
    root = copy("index")
    a, b = (np.asarray(Image.open(image(root, name)), np.uint16) for name in ("t0", "v0"))
    Image.fromarray(((a + b) // 2).astype(np.uint8)).save(image(root, "v0"))
    assert found(root) == set()


def test_flat_pictures_are_not_all_alike(copy):
    root = copy("index")
    for number, name in enumerate(("t0", "t1", "v0", "v1")):
        pixels = np.full((SIZE, SIZE, 3), 255, np.uint8)
        pixels[12 * number + 4 : 12 * number + 12, 20:30] = 0  # a stroke on white paper
        Image.fromarray(pixels).save(image(root, name))
    assert found(root) == set()


def test_a_folder_without_a_data_set_is_one_finding(tmp_path):
    (report,) = found(tmp_path)
    assert report[:2] == ("error", "layout")
    assert found(tmp_path / "absent") == {("error", "layout", "absent")}


def test_a_single_picture_cannot_be_split(copy):
    root = copy("index")
    without_lists(root)
    for name in (*TRAIN[1:], *VALIDATION):
        image(root, name).unlink()
        mask(root, name).unlink()
    kinds = {(severity, kind) for severity, kind, _ in found(root)}
    assert kinds == {("error", "split")}


def test_a_validation_set_that_is_ignored_throughout(copy):
    root = copy("index")
    for name in VALIDATION:
        set_values(mask(root, name), lambda v: v.fill(255))
    ignored = {("warning", "ignored-mask", f"{name}.png") for name in VALIDATION}
    assert found(root) == {("error", "ignored-mask", "index"), *ignored}


def test_coloured_masks_without_a_table_are_one_finding(copy):
    root = copy("colored")
    (root / "labelmap.txt").unlink()
    shutil.copy(mask(root), mask(root, "stray"))
    assert found(root) == {
        ("error", "encoding", "colored"),
        ("warning", "missing-picture", "stray.png"),
    }


# --- the report -------------------------------------------------------------------------------


def test_the_report_holds_shares_sizes_and_all_findings(copy):
    root = copy("index")
    edit(image(root, "v2"), lambda p: p.crop((0, 0, 50, 30)))
    edit(mask(root, "v2"), lambda p: p.crop((0, 0, 50, 30)))
    set_values(mask(root, "t0"), lambda v: v.fill(255))
    report = check(root, classes=CLASSES)
    assert report.sizes == ((50, 30), (64, 64))
    train = report.splits["train"]
    masks = [np.asarray(Image.open(mask(root, name))) for name in TRAIN[1:]]
    assert train.pictures == 6
    assert train.pixels == (int(np.sum(np.equal(masks, 0))), int(np.sum(masks)))
    assert train.shares == pytest.approx((1 - np.mean(masks), np.mean(masks)))
    assert train.ignored_share == pytest.approx(1 / 6)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["warnings"] == 1
    assert data["splits"]["train"]["shares"]["membrane"] == pytest.approx(np.mean(masks))
    assert data["findings"] == [
        {
            "severity": "warning",
            "kind": "ignored-mask",
            "file": str(mask(root, "t0")),
            "found": "every pixel of the mask is ignored",
            "fix": "draw it, or remove the picture",
        }
    ]


def test_errors_come_before_warnings(copy):
    root = copy("index")
    shutil.copy(mask(root), mask(root, "stray"))
    mask(root, "v0").write_bytes(b"")
    severities = [f.severity for f in check(root, classes=CLASSES).findings]
    assert severities == ["error", "warning"]
