"""A TensorFlow SavedModel that Keras 2 wrote: its architecture and its variables, not its graph.

A SavedModel's graph is a program: its operations can read and write files (TensorFlow's
SECURITY.md). It is never loaded. Keras 2 put the architecture beside it, `keras_metadata.pb`, and
the variables are a checkpoint of plain arrays. A SavedModel without that architecture, such as
`model.export()` of Keras 3 writes, is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from converters.foreign.bounded_json import MOST_BYTES, parse_json
from converters.foreign.graph import build_model
from converters.foreign.h5_weights import Stored, StoredWeight, assign, renamed
from converters.foreign.layer_rules import clean_name
from converters.foreign.refusal import Refusal
from unet_edge.model_files.protobuf import read_fields
from unet_edge.system.child_process import run_child
from unet_edge.system.files import read_regular

_METADATA = "keras_metadata.pb"
_MOST_VALUES = 2**30
_MOST_FIELDS = 100_000
_CHECKPOINT_CHILD = "converters.foreign.checkpoint_child"
_SECONDS = 600  # 4 GiB from a slow disk
# saved_metadata.proto: SavedMetadata.nodes; SavedObject.node_path, .metadata
_NODES, _NODE_PATH, _NODE_METADATA = 1, 3, 5
_SAVE = "save the model with model.save('model.keras') where it was trained, and import that"


def read_saved_model(folder: Path) -> keras.Model:
    """Read the model, not compiled. Raises Refusal."""
    nodes = dict(_nodes(folder))
    if "root" not in nodes:
        raise Refusal(
            "is a SavedModel without its architecture, a program that is never run", _SAVE
        )
    stored = _stored(folder, {path: str(node.get("name")) for path, node in nodes.items()})
    count = sum(weight.values.size for weights in stored.values() for weight in weights)
    model = build_model(nodes["root"], count, keras_2=True)
    assign(model, stored)
    return model


def _nodes(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The path and the configuration of each Keras object. Raises Refusal."""
    try:
        data = read_regular(folder / _METADATA, 2 * MOST_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Refusal(f"cannot be read: {_METADATA}: {error.strerror or error}") from error
    try:
        for number, node in read_fields(memoryview(data), _MOST_FIELDS):
            if number == _NODES:
                fields = dict(read_fields(memoryview(node), _MOST_FIELDS))
                path = bytes(fields[_NODE_PATH]).decode()
                if path == "root" or path.rpartition(".")[2].startswith("layer_with_weights-"):
                    yield path, parse_json(bytes(fields[_NODE_METADATA]), _METADATA)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise Refusal(f"is damaged: {_METADATA} cannot be read ({error!r})") from error


def _stored(folder: Path, names: dict[str, str]) -> Stored:
    """The weights of each layer of the model; `names` has the layer's name for each path."""
    import tensorflow as tf

    prefix = str((folder / "variables" / "variables").absolute())
    _require_readable(prefix)
    stored: Stored = {}
    try:
        reader = tf.train.load_checkpoint(prefix)
        shapes = reader.get_variable_to_shape_map()
        if sum(map(math.prod, shapes.values())) > _MOST_VALUES:
            raise Refusal(f"is not read: its variables have more than {_MOST_VALUES:,} values")
        for path, variable, key in _variables(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")):
            if path not in names:
                continue
            values = np.asarray(reader.get_tensor(key), np.float32)
            if not np.isfinite(values).all():
                raise Refusal(f"has weights that are not finite numbers ({key!r})")
            layer = clean_name(names[".".join(path.split(".")[:2])])
            weight = StoredWeight(clean_name(names[path]), variable, values)
            stored.setdefault(layer, []).append(weight)
    except Refusal:
        raise
    except Exception as error:  # TensorFlow's own kinds, for each kind of damage
        raise Refusal(
            f"is damaged: its variables cannot be read ({str(error).splitlines()[0]})"
        ) from error
    return {layer: renamed(weights) for layer, weights in stored.items()}


def _require_readable(prefix: str) -> None:
    """Raise Refusal for a checkpoint on which TensorFlow fails, or ends the process."""
    child = run_child(_CHECKPOINT_CHILD, {"prefix": prefix}, _SECONDS)
    try:
        answer = json.loads(child.output)
    except ValueError:
        signal = child.signal or "an error"
        raise Refusal(
            f"is damaged: TensorFlow ended with {signal} when it read the variables"
        ) from None
    if "damage" in answer:
        raise Refusal(f"is damaged: its variables cannot be read ({answer['damage']})")


def _variables(graph: bytes) -> Iterator[tuple[str, str, str]]:
    """The path of the layer, the name, and the key of each variable of a layer.

    A checkpoint's keys name only one way to a variable; its object graph has all.
    """
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    nodes = TrackableObjectGraph.FromString(graph).nodes
    waiting = [("root", 0)]
    for _ in range(len(nodes)):  # the tree of layers has no more
        if not waiting:
            return
        path, index = waiting.pop()
        for child in nodes[index].children:
            node = nodes[child.node_id]
            if child.local_name.startswith("layer_with_weights-"):
                waiting.append((f"{path}.{child.local_name}", child.node_id))
            elif len(node.attributes) == 1 and path != "root":
                yield path, child.local_name, node.attributes[0].checkpoint_key
