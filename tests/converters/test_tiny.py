"""The committed models of `unet-edge doctor` are those that converters/tiny.py makes."""

from __future__ import annotations

import numpy as np

from converters.tiny import FOLDER, SPEC, tiny_files
from unet_edge.model_files.embedded_contract import parse_contract
from unet_edge.model_files.read_graph import read_graph
from unet_edge.runtime.interpreter_choice import open_backend


def test_the_committed_models_can_be_made_again_and_distinguish_red_from_blue() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SPEC.height, SPEC.width, 3), np.uint8)
    red, blue = pixels[..., 0].astype(int), pixels[..., 2].astype(int)
    made = tiny_files()
    assert set(made) == {path.name for path in FOLDER.iterdir()}
    for name, fresh in made.items():
        committed = (FOLDER / name).read_bytes()
        contract = parse_contract(committed, name)
        assert contract == parse_contract(fresh, name)
        assert name == f"{contract.precision}.{contract.format}"
        graphs = [read_graph(data, contract.format, name) for data in (committed, fresh)]
        # Another converter's bytes may differ, but the computation must not: one convolution.
        assert graphs[0].operators == graphs[1].operators
        assert sum(graphs[0].kernels.values()) == 1
        for data in (committed, fresh):
            scores = open_backend(data, contract.format).scores(pixels)
            labels = scores.argmax(-1)
            # int8 rounds twice, at input and output, by steps of about one level of 255.
            clear = abs(red - blue) > (4 if contract.precision == "int8" else 0)
            np.testing.assert_array_equal(labels[clear], (red > blue)[clear])
