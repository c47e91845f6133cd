"""What a training says about its data at its start."""

from dataset_folders import find, make

from unet_edge.training.run import _check_data


def test_the_command_that_scores_test_pictures_is_named(tmp_path):
    make(tmp_path / "my cats", ["train/a", "val/b", "test/c"])
    lines: list[str] = []
    _check_data(find(tmp_path / "my cats"), tmp_path / "run", lines.append)
    assert (
        "to score the 1 test picture: unet-edge evaluate "
        f"{tmp_path / 'run'} --data '{tmp_path / 'my cats'}' --split test"
    ) in lines
    assert "checking 3 pictures and masks" in lines
