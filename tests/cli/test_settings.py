"""Every setting of a run is an option of `train`, and options override a --config."""

import dataclasses
import re
from operator import attrgetter
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import click
import pytest
from click.testing import CliRunner

from unet_edge.cli import main
from unet_edge.cli.data import check, preview, split
from unet_edge.cli.evaluation import evaluate
from unet_edge.cli.settings import LEAVES, nested
from unet_edge.cli.training import train
from unet_edge.dataset.settings import DataSettings, Reading
from unet_edge.training.settings.augmentation import Augmentation
from unet_edge.training.settings.distillation import Distillation
from unet_edge.training.settings.loss import Loss
from unet_edge.training.settings.network import Network
from unet_edge.training.settings.optimisation import Optimisation
from unet_edge.training.settings.train_config import TrainConfig

# `--class-weights balanced` sets the first one, and every run that starts from another the second.
WITHOUT_AN_OPTION_OF_ITS_OWN = {"loss.balanced", "weights_sha256"}


def leaves(config, prefix=""):
    """The keys of all settings."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def parsed(*arguments):
    """The settings of a command line, as `train` reads them."""
    # click keeps a command's first help option, so its names must be those of the group.
    given = [str(argument) for argument in arguments]
    context = train.make_context("train", given, **main.context_settings)
    settings = {name: value for name, value in context.params.items() if name not in OTHERS}
    return nested(settings)


OTHERS = {
    "output", "config", "assignments", "overwrite", "as_json", "coordinator", "processes",
    "process",
}  # fmt: skip


def test_every_setting_has_an_option():
    config = TrainConfig(data=Path("data"), distillation=Distillation(Path("teacher")))
    options = {parameter.name.replace("__", ".") for parameter in train.params}
    assert set(leaves(config)) - options == WITHOUT_AN_OPTION_OF_ITS_OWN


def test_every_option_has_a_help_text():
    without_help = [
        parameter.opts
        for parameter in train.params
        if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert not without_help


def test_every_option_arrives_where_it_belongs():
    given = parsed(
        "/data/cats", "--classes", "sky, cat,dog", "--size", "64x96", "--crop", "32",
        "--masks", "index", "--ignore", 7, "--train-list", "/t.txt", "--val-list", "/v.txt",
        "--name", "cats", "--fit", "stretch", "--resample", "box",
        "--architecture", "unet_mini", "--decoder", "dense", "--alpha", 0.5,
        "--encoder-weights", "/w.h5", "--encoder", "mobilenet_v2", "--steps", 77,
        "--rounds", 6, "--patience", 2,
        "--batch-size", 3, "--optimizer", "sgd", "--learning-rate", 0.02,
        "--weight-decay", 0.003, "--schedule", "constant", "--warmup", 0.1,
        "--final-rate", 0.2, "--ema", 0.05, "--freeze", 0.3, "--precision", "auto",
        "--cross-entropy", 0.25, "--focal", 0.5, "--focal-gamma", 1.5, "--dice", 2,
        "--class-weights", "1,2,0.5", "--teacher", "/runs/teacher", "--distill-weight", 0.75,
        "--distill-temperature", 3, "--augment", "--no-flip", "--any-orientation",
        "--scale", 0.9, 1.1, "--aspect", 0.2, "--rotation", 15, "--elastic", 3, "--hue", 0.01,
        "--saturation", 0.02, "--brightness", 0.03, "--contrast", 0.04, "--blur", 1.5,
        "--noise", 0.06, "--tensorboard", "--seed", 5,
    )  # fmt: skip
    assert TrainConfig.from_dict(given, "the options") == TrainConfig(
        data=Path("/data/cats"),
        classes=("sky", "cat", "dog"),
        size=(64, 96),
        crop=(32, 32),
        masks="index",
        ignore=7,
        train_list=Path("/t.txt"),
        validation_list=Path("/v.txt"),
        name="cats",
        fit="stretch",
        resample="box",
        encoder_weights="/w.h5",
        steps=77,
        rounds=6,
        patience=2,
        batch_size=3,
        tensorboard=True,
        seed=5,
        network=Network("unet_mini", decoder="dense", alpha=0.5, encoder="mobilenet_v2"),
        loss=Loss(0.25, 0.5, 2.0, 1.5, class_weights=(1.0, 2.0, 0.5)),
        optimisation=Optimisation(
            "sgd", 0.02, 0.003, "constant", 0.1, 0.2, ema=0.05, freeze=0.3, precision="auto"
        ),
        augmentation=Augmentation(
            False, True, (0.9, 1.1), 0.2, 15.0, 3.0, 0.01, 0.02, 0.03, 0.04, 1.5, 0.06
        ),
        distillation=Distillation(Path("/runs/teacher"), 0.75, 3.0),
    )


def test_what_is_not_given_stays_at_its_default():
    given = parsed("/data/cats")
    assert given == {"data": "/data/cats"}
    assert parsed("/data/cats", "--no-augment") == given | {"augment": False}


def test_balanced_weights_replace_given_ones_and_the_other_way_round():
    given = TrainConfig(data=Path("data"), loss=Loss(dice=1.0, class_weights=(1.0, 2.0)))
    balanced = TrainConfig(data=Path("data"), loss=Loss(dice=1.0, balanced=True))
    for before, option, after in ((given, "balanced", balanced), (balanced, "1,2", given)):
        changes = parsed("--class-weights", option)
        assert TrainConfig.from_toml(before.to_toml(), "config.toml", changes) == after


def test_relative_paths_are_those_of_the_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = parsed("cats", "--train-list", "train.txt", "--teacher", "runs/cats")
    assert given["data"] == str(tmp_path / "cats")
    assert given["train_list"] == str(tmp_path / "train.txt")
    assert given["distillation"]["teacher"] == str(tmp_path / "runs" / "cats")


# --- the command ------------------------------------------------------------------------------


def refused(*arguments):
    """Run `train`, which must fail with one line and write nothing; returns the line."""
    with CliRunner().isolated_filesystem():
        result = CliRunner().invoke(main, ["train", *map(str, arguments)])
        assert not Path("runs/model").exists()
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1, result.output
    (line,) = (text for text in result.output.splitlines() if text.startswith("error: "))
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--alpha", 2], "the options: network: mobilenet_v1 has no alpha 2.0"),
        (["--crop", 100], "the options: crop is 100x100; mobilenet_unet needs multiples of 16 px"),
        (["--crop", 32, "--no-augment"], "a crop is given, but --no-augment"),
        (["--class-weights", "1,x"], "--class-weights 1,x is neither numbers nor balanced"),
        (["--class-weights", "1,2,3"], "3 class weights for 2 classes"),
        (["--class-weights", "1,-2"], "all must be above 0"),
        (["--cross-entropy", 0], "cross_entropy, focal and dice are 0; at least one must"),
        (["--learning-rate", "nan"], "the learning rate is nan; it must be above 0"),
        (["--distill-weight", 0.5], "--distill-weight and --distill-temperature need a --teacher"),
        (["--distill-temperature", 1], "need a --teacher"),
        (["--scale", 2, 1], "scale is 2.0..1.0; it must be 0 < low <= high"),
        (["--elastic", 99], "elastic is 99.0; it must be 0 to 50 px"),
        (["--warmup", 1], "warmup is 1.0; a share must be"),
        (["--patience", -1], "patience is -1; it must be at least 0"),
        (
            ["--classes", "one"],
            "1 class given: one; there must be 2 to 255; separate names",
        ),
        (["--processes", 2], "--coordinator, --processes and --process belong together"),
    ],
    ids=str,
)
def test_a_bad_value_is_one_line(sample_data, options, says):
    assert says in refused(sample_data, *options)


def test_a_config_that_is_missing_or_broken_is_one_line(tmp_path):
    assert f"cannot read {tmp_path / 'none.toml'}" in refused("--config", tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("steps = \n")
    assert f"{broken} is not TOML" in refused("--config", broken)
    broken.write_text(f'data = "{tmp_path}"\nstep = 3\n')
    assert f"{broken}: unknown setting step, is it steps?" in refused("--config", broken)


def test_neither_data_nor_config():
    assert (
        "no data is named; name a folder with pictures and masks, or a --config with data"
        in refused()
    )


def test_options_override_a_config(sample_data, tmp_path):
    """The complete command, up to the first error in the data."""
    config = TrainConfig(
        data=tmp_path / "elsewhere",
        classes=("cell", "membrane"),
        masks="binary<=127",
        encoder_weights="none",
        loss=Loss(dice=1.0),
    )
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    # The config's own data set is not there: only the option's is.
    assert f"no such data folder: {tmp_path / 'elsewhere'}" in refused("--config", path)
    # The config's rule, then the option's: --masks auto is a choice like any other.
    lines = {
        masks: refused(sample_data, "--config", path, *masks, "--classes", "cell,membrane,nucleus")
        for masks in ((), ("--masks", "auto"))
    }
    # Read as black and white, class 0 is missing as well as class 2.
    assert lines[()].startswith("2 problems in the data:")
    assert "no mask has a pixel of class 2 (nucleus), read as index" in lines["--masks", "auto"]


# --- options derived from the settings --------------------------------------------------------

CONFIG = TrainConfig(data=Path("data"), distillation=Distillation(Path("teacher")))

# Defaults that the help describes in words, and settings without a default.
IN_WORDS = {
    "crop": "--size",
    "ignore": "255 in index masks",
    "mask_names": "NAME",
    "bit_depth": "all 16; floats are 0..1",
    "weights": None,
    "encoder_weights": "imagenet; none for unet_mini and with --weights",
    "loss.class_weights": "none",
    "train_list": None,
    "validation_list": None,
    "test_list": None,
    "distillation.teacher": None,
}

DERIVED = [
    (command, parameter)
    for command in (train, check, split, preview, evaluate)
    for parameter in command.params
    if isinstance(parameter, click.Option)
    and parameter.name.replace("__", ".") in LEAVES
    and (command, parameter.name) not in ((split, "seed"), (evaluate, "data"))
]


def derived_id(value):
    return value.name.replace("__", ".") if isinstance(value, click.Option | click.Command) else ""


@pytest.mark.parametrize(("command", "option"), DERIVED, ids=derived_id)
def test_the_default_in_the_help_is_the_settings(command, option):
    key = option.name.replace("__", ".")
    (shown,) = re.findall(r"\[default: (.*)\]$", option.help) or [None]
    if command is evaluate:  # a run's settings come first
        assert shown.startswith("the run's")
        shown = shown.removeprefix("the run's").removeprefix(", else ") or None
    if key in IN_WORDS:
        assert shown == IN_WORDS[key]
        return
    default = attrgetter(key)(CONFIG)
    if isinstance(default, bool):
        flags = option.opts if default else option.secondary_opts
        assert f"--{shown}" in flags
        return
    words = shown.split() if option.nargs > 1 else [shown]
    settings = main.context_settings  # as in parsed()
    context = command.make_context(command.name, [], resilient_parsing=True, **settings)
    typed = [option.type.convert(word, option, context) for word in words]
    assert (tuple(typed) if option.nargs > 1 else typed[0]) == default


@pytest.mark.parametrize(("command", "option"), DERIVED, ids=derived_id)
def test_an_option_that_is_not_given_is_none_or_the_settings_default(command, option):
    filled = option.default is not None
    assert not filled or option.default == attrgetter(option.name.replace("__", "."))(CONFIG)
    assert not (filled and command in (train, preview, evaluate))


def test_choices_are_those_of_the_settings():
    tried = set()
    for command, option in DERIVED:
        key = option.name.replace("__", ".")
        if get_origin(LEAVES[key].kind) is not None and isinstance(option.type, click.Choice):
            table, _, name = key.rpartition(".")
            settings = attrgetter(table)(CONFIG) if table else CONFIG
            choices = get_args(get_type_hints(type(settings))[name])
            if key == "network.architecture":  # --weights alone chooses an imported network
                choices = tuple(each for each in choices if each != "imported")
            assert tuple(option.type.choices) == choices, (command.name, key)
            tried.add(key)
    assert tried == {
        "crowds", "split_by", "fit", "resample", "decoding", "network.architecture",
        "network.encoder", "network.decoder", "optimisation.optimizer", "optimisation.schedule",
        "optimisation.precision",
    }  # fmt: skip


def test_the_reading_settings_are_defined_once():
    reading = [field.name for field in dataclasses.fields(Reading)]
    for settings in (DataSettings, TrainConfig):
        own = [name for name in settings.__annotations__ if name in reading]
        assert issubclass(settings, Reading)
        assert own == []
    for name in reading:
        assert getattr(TrainConfig, name) == getattr(DataSettings, name)


def test_a_written_config_keeps_its_order():
    """As runs of earlier versions wrote it."""
    written = [line.split(" = ")[0] for line in CONFIG.to_toml().splitlines() if " = " in line]
    assert written[:6] == ["data", "classes", "size", "masks", "crowds", "split_by"]
    assert written[6:10] == ["name", "fit", "resample", "decoding"]


# Published names, which stay valid.
TRAIN_OPTIONS = {
    "--alpha", "--any-orientation", "--architecture", "--aspect", "--augment", "--batch-size",
    "--bit-depth", "--blur", "--brightness", "--class-weights", "--classes", "--config",
    "--contrast", "--coordinator", "--crop", "--cross-entropy", "--crowds", "--decoder",
    "--decoding", "--dice", "--distill-temperature", "--distill-weight", "--elastic", "--ema",
    "--encoder", "--encoder-weights", "--final-rate", "--fit", "--flip", "--focal",
    "--focal-gamma", "--freeze", "--hue", "--ignore", "--json", "--learning-rate", "--mask-names",
    "--masks", "--name", "--no-augment", "--no-flip", "--no-tensorboard", "--noise",
    "--optimizer", "--output", "--overwrite", "--patience", "--precision", "--process",
    "--processes", "--resample", "--rotation", "--rounds", "--saturation", "--scale",
    "--schedule", "--seed", "--size", "--split-by", "--steps", "--teacher", "--tensorboard",
    "--test-list", "--train-list", "--upright", "--val-list", "--warmup", "--weight-decay", "-o",
}  # fmt: skip
READING_OPTIONS = {"--crowds", "--ignore", "--mask-names", "--masks"}
LIST_OPTIONS = {"--train-list", "--val-list", "--test-list"}
VIEW_OPTIONS = {
    "--any-orientation", "--upright", "--aspect", "--blur", "--brightness", "--contrast",
    "--elastic", "--flip", "--no-flip", "--hue", "--noise", "--rotation", "--saturation", "--scale",
}  # fmt: skip


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (train, TRAIN_OPTIONS),
        (check, {"--classes", "--bit-depth"} | READING_OPTIONS | LIST_OPTIONS),
        (split, {"--classes", "--seed"} | READING_OPTIONS),
        (
            preview,
            {"--classes", "--size", "--crop", "--architecture", "--bit-depth", "--seed"}
            | READING_OPTIONS
            | LIST_OPTIONS
            | VIEW_OPTIONS,
        ),
        (evaluate, READING_OPTIONS | LIST_OPTIONS),
    ],
    ids=derived_id,
)
def test_published_names_stay_valid(command, names):
    assert names <= {o for each in command.params for o in (*each.opts, *each.secondary_opts)}
