"""imported.json: where the model of an imported run came from, and how it was made canonical."""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unet_edge.bundle.json_document import published_schema, read_document
from unet_edge.errors import ModelFileError
from unet_edge.runtime.run_folder import IMPORTED_FILE

KIND = "unet-edge import"
SCHEMA = 1
"""Version of imported.json. Readers refuse newer versions."""

_MOST = 2**20  # bytes; ours have about 2 kB


@dataclass(frozen=True)
class Source:
    """The file that was imported: its name without folders, SHA-256 and kind.

    The SHA-256 of a SavedModel's folder is over the names and digests of its files.
    `architecture` names the network that a file of weights was loaded into, None for other kinds.
    """

    name: str
    sha256: str
    kind: str
    architecture: str | None


@dataclass(frozen=True)
class InputContract:
    """What the foreign model takes: (pixel - mean) / std, then the channels in `color_order`.

    `mean` and `std` are in the order red, green, blue. `range` is the name that was given for
    them, such as "-1..1"; None for numbers.
    """

    range: str | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    color_order: Literal["rgb", "bgr"]


@dataclass(frozen=True)
class Found:
    """The foreign model as it was found. In shapes, None stands for any size."""

    input_shape: tuple[int | None, ...]
    output_shape: tuple[int | None, ...]
    output: str
    last_activation: str
    layers: int
    parameters: int


@dataclass(frozen=True)
class ProvenRewrite:
    """A change to the graph, and the largest difference of outputs that it made."""

    what: str
    largest_difference: float


@dataclass(frozen=True)
class Imported:
    """The record of an import. `tools` are versions; `assumed` are options that were not given."""

    source: Source
    input: InputContract
    found: Found
    assumed: tuple[str, ...]
    rewrites: tuple[ProvenRewrite, ...]
    tools: dict[str, str]

    @property
    def network(self) -> str:
        """The model in words, for the model card."""
        made = self.source.architecture or f"{self.found.layers} layers"
        return f"imported from {self.source.name} ({made})"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"kind": KIND, "schema": SCHEMA, **dataclasses.asdict(self)}

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Imported:
        """Read the result of `to_dict`, which must hold to the schema."""
        given, found = data["input"], data["found"]
        return cls(
            source=Source(**data["source"]),
            input=InputContract(
                given["range"], tuple(given["mean"]), tuple(given["std"]), given["color_order"]
            ),
            found=Found(
                **found
                | {
                    "input_shape": tuple(found["input_shape"]),
                    "output_shape": tuple(found["output_shape"]),
                }
            ),
            assumed=tuple(data["assumed"]),
            rewrites=tuple(ProvenRewrite(**each) for each in data["rewrites"]),
            tools=dict(data["tools"]),
        )


@functools.cache
def imported_schema() -> dict[str, Any]:
    """The published JSON Schema (draft 2020-12) of imported.json."""
    return published_schema("unet_edge.runtime", "imported.schema.json")


def read_imported(run: Path) -> Imported:
    """Read a run's imported.json. Raises ModelFileError for a file that does not hold to it."""
    data = read_document(
        run / IMPORTED_FILE,
        imported_schema(),
        version=SCHEMA,
        most=_MOST,
        again="run 'unet-edge import' again with --overwrite",
        error=ModelFileError,
    )
    return Imported.from_dict(data)
