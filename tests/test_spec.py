import dataclasses
import json

import pytest

from unet_edge.errors import SpecError
from unet_edge.spec import SCHEMA, ModelSpec, Normalisation

FULL = ModelSpec(
    height=224,
    width=320,
    classes=("Hintergrund", "Zellmembran ä", "细胞"),
    palette=((0, 0, 0), (1, 2, 3), (255, 254, 253)),
    name="membranes",
    fit="stretch",
    resample="bicubic",
    pad_color=(9, 8, 7),
    normalisation=Normalisation(127.5, 127.5),
)

# The contract of a file from the first release. Never change it: people have such files on their
# devices, and every later version must read them as these values.
SCHEMA_1 = """{
  "schema": 1, "height": 224, "width": 320,
  "classes": ["background", "cat"], "palette": [[0, 0, 0], [255, 64, 133]], "name": "cats",
  "fit": "letterbox", "resample": "bilinear", "pad_color": [128, 128, 128],
  "normalisation": {"mean": 128.0, "std": 128.0}, "output": "logits",
  "decoding": "scaled", "bit_depth": null
}"""


def contract(**changes):
    fields = {"schema": 1, "height": 4, "width": 4, "classes": ["a", "b"], **changes}
    return {key: value for key, value in fields.items() if value is not ...}


def test_a_contract_survives_json():
    assert ModelSpec.from_json(FULL.to_json()) == FULL
    assert ModelSpec.from_json(FULL.to_json().encode()) == FULL


def test_json_names_every_field_and_the_schema():
    fields = {field.name for field in dataclasses.fields(ModelSpec)}
    assert set(json.loads(FULL.to_json())) == fields | {"schema"}


def test_the_same_contract_gives_the_same_text():
    reordered = dict(reversed(FULL.to_dict().items()))
    assert ModelSpec.from_dict(reordered).to_json() == FULL.to_json()


def test_a_bit_depth_is_a_whole_number_of_8_to_16():
    deep = dataclasses.replace(FULL, bit_depth=12)
    assert ModelSpec.from_json(deep.to_json()) == deep
    for wrong in (7, 17, 12.0, "12", True):
        with pytest.raises(
            SpecError, match=r"bit_depth is .*; it must be a whole number from 8 to 16"
        ):
            ModelSpec.from_dict(deep.to_dict() | {"bit_depth": wrong})


def test_contracts_of_the_first_schema_stay_readable():
    assert ModelSpec.from_json(SCHEMA_1) == ModelSpec(
        height=224,
        width=320,
        classes=("background", "cat"),
        palette=((0, 0, 0), (255, 64, 133)),
        name="cats",
        decoding="scaled",
    )


def test_fields_left_out_take_their_defaults():
    assert ModelSpec.from_dict(contract()) == ModelSpec(4, 4, ("a", "b"))


def test_size_is_height_then_width():
    assert FULL.size == (224, 320)


def test_a_contract_is_a_value():
    assert hash(FULL) == hash(ModelSpec.from_json(FULL.to_json()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.height = 1


def test_default_normalisation_makes_every_pixel_an_exact_int8():
    # (p - 128) / 128 with scale 1/128 and zero point 0 is p - 128: a whole number of -128..127.
    n = Normalisation()
    quantised = [(pixel - n.mean) / n.std * 128 for pixel in range(256)]
    assert quantised == list(range(-128, 128))


def test_a_newer_schema_is_refused_with_the_upgrade_command():
    with pytest.raises(SpecError, match=r"schema 2.*reads up to 1.*pip install --upgrade"):
        ModelSpec.from_dict(contract(schema=SCHEMA + 1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": ...}, "no schema version"),
        ({"schema": "1"}, "no schema version"),
        ({"schema": 0}, "no schema version"),
        ({"schema": True}, "no schema version"),
        ({"height": ...}, "malformed.*height"),
        ({"height": 0}, "size is 0x4; it must be at least 1x1"),
        ({"width": -3}, "size is 4x-3; it must be at least 1x1"),
        ({"height": "tall"}, "malformed"),
        ({"height": None}, "malformed"),
        ({"height": 224.7}, "malformed|height"),
        ({"height": float("inf")}, "malformed|height"),
        ({"width": float("nan")}, "malformed|width"),
        ({"classes": ...}, "malformed.*classes"),
        ({"classes": ["only"]}, "1 class given; there must be 2 to 255$"),
        ({"classes": [str(i) for i in range(256)]}, "256 classes given"),
        ({"classes": ["a", "a"]}, "class names repeat: a, a; they must differ"),
        ({"classes": ["a", ""]}, "class name '' is not one line of text"),
        ({"classes": ["a\nb", "c"]}, "not one line"),
        ({"classes": ["a", "b\r"]}, "not one line"),
        ({"classes": ["a\0", "b"]}, "not one line"),
        ({"classes": 7}, "malformed"),
        ({"classes": "ab"}, "malformed|classes"),
        ({"palette": [[0, 0, 0]]}, "1 palette colour for 2 classes"),
        (
            {"palette": [[0, 0, 0], [0, 0, 256]]},
            r"a colour is \(0, 0, 256\); it must be three values of 0\.\.255",
        ),
        ({"palette": [[0, 0, 0], [0, 0]]}, "malformed"),
        ({"palette": None}, "malformed"),
        ({"pad_color": [-1, 0, 0]}, r"a colour is \(-1, 0, 0\)"),
        ({"pad_color": 128}, "malformed"),
        ({"name": 5}, "malformed|name"),
        ({"fit": "crop"}, "fit is 'crop'; it must be one of letterbox, stretch"),
        ({"fit": ["letterbox"]}, "one of letterbox, stretch"),
        ({"resample": "lanczos"}, "one of bilinear, bicubic, box"),
        ({"output": "softmax"}, "one of logits, labels"),
        ({"decoding": "half"}, "decoding is 'half'; it must be one of full, scaled"),
        ({"normalisation": {"std": 0}}, "std is 0; it must be finite and above 0"),
        ({"normalisation": {"std": float("nan")}}, "std is nan"),
        ({"normalisation": {"std": float("inf")}}, "malformed|std"),
        ({"normalisation": {"mean": float("nan")}}, "malformed|mean"),
        ({"normalisation": {"mean": "128"}}, "malformed|mean"),
        ({"normalisation": {"scale": 1}}, "malformed"),
        ({"normalisation": None}, "malformed"),
        ({"colour": 1, "zoom": 2}, "unknown fields: colour, zoom"),
    ],
    ids=lambda value: None if isinstance(value, str) else json.dumps(value, default=str)[:40],
)
def test_a_wrong_value_is_refused(changes, message):
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_dict(contract(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ('{"schema": 1, "height": 1e999, "width": 1, "classes": ["a", "b"]}', "malformed|height"),
    ],
    ids=["empty", "cut", "binary", "nested", "list", "null", "infinite"],
)
def test_text_that_is_not_a_contract(text, message):
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_json(text)
