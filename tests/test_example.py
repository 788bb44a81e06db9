"""The example on the shelf is a request that the gateway reads and the model takes."""

from __future__ import annotations

import numpy as np
import pytest

from compilers import example
from compilers.datasets import Data
from gateway.core import signature
from gateway.oip import json_codec
from gateway.shared_memory import Regions
from model_repo.records import Model, TensorSpec
from model_repo.tensors import dtype_of

OUTPUT = (TensorSpec("y", "FP32", (-1, 2)),)


def model(datatype: str, batches: bool, rows: int) -> Model:
    return Model("m", "1", (TensorSpec("x", datatype, (rows, 2)),), OUTPUT, batches)


def rows(datatype: str) -> Data:
    values = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    return Data(
        {
            "x": values.astype(str).astype(object)
            if datatype == "BYTES"
            else values.astype(dtype_of(datatype, "x"))
        }
    )


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT8", "UINT64", "BOOL", "BYTES"])
def test_it_is_one_row_for_a_model_that_batches(datatype: str) -> None:
    made = example.request(model(datatype, True, -1), rows(datatype))
    assert made is not None
    request = json_codec.decode("m", "", {}, made, 0.0, Regions())
    assert signature.rows(model(datatype, True, -1), request) == 1


def test_it_is_one_whole_call_for_a_model_of_fixed_size() -> None:
    fixed = model("FP32", False, 3)
    made = example.request(fixed, rows("FP32"))
    assert made is not None
    request = json_codec.decode("m", "", {}, made, 0.0, Regions())
    assert request.inputs["x"].shape == (3, 2)
    assert signature.rows(fixed, request) == 1


@pytest.mark.parametrize("datatype", example.NOT_IN_JSON)
def test_there_is_none_where_json_cannot_carry_it(datatype: str) -> None:
    assert example.request(model(datatype, True, -1), rows(datatype)) is None
