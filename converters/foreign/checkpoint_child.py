"""Read all of a TensorFlow checkpoint in a process of its own, to see that it can be read.

TensorFlow ends the process on some damaged checkpoints. What was read once without that can be read
again: `saved_model` starts this module before it reads the same files.
"""

from __future__ import annotations

import json
import os
import sys

from unet_edge.system.child_process import answer_pipe


def main() -> None:
    """Answer one request, {"prefix": the path of the checkpoint's files without their suffix}."""
    answer = answer_pipe()
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(json.load(sys.stdin)["prefix"])
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
        result = {}
    except Exception as error:  # TensorFlow's own kinds, for each kind of damage
        result = {"damage": str(error).splitlines()[0] if str(error) else type(error).__name__}
    os.write(answer, json.dumps(result).encode())


if __name__ == "__main__":
    main()
