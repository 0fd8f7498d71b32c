"""A student as ONNX, made by hand: one convolution, and the mean of the image as its features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FACTS = {
    "sees": "images",
    "image_size": 32,
    "in_channels": 3,
    "classes": ["background", "wound", "bandage"],
    "intensity": {"range": [0, 255]},
}


def write_onnx(path: Path, facts: dict[str, Any] = FACTS) -> Path:
    """Write a student that takes what is redder than half for the first structure, and what is bluer for the second."""
    channels, classes = facts["in_channels"], len(facts["classes"])
    weight, bias = np.zeros((classes, channels, 1, 1), np.float32), np.zeros(classes, np.float32)
    for structure in range(1, classes):
        weight[structure, 0 if structure == 1 else -1], bias[structure] = 20, -10
    shape = ["B", channels, "W", "H"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weight", "bias"], ["pred"]),
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["features"]),
        ],
        "student",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info("pred", TensorProto.FLOAT, ["B", classes, "W", "H"]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", channels]),
        ],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"recipe": json.dumps(facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
