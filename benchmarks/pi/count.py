"""Run a model, the program whose instructions are counted: FILE PHOTO MODEL-RUNS WHOLE-RUNS."""

import sys

from unet_edge.images.decoding import decode
from unet_edge.images.placement import place
from unet_edge.runtime.segmenter import Segmenter

_file, _photo, _model_runs, _whole_runs = sys.argv[1:]
_segmenter = Segmenter.open(_file, threads=1)
_grid = place(decode(_photo), _segmenter.spec)
for _run in range(int(_model_runs)):
    _segmenter.backend.labels(_grid)
for _run in range(int(_whole_runs)):
    _segmenter.segment(_photo)
