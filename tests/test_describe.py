"""Metadata and configuration in the form Triton's clients read."""

from __future__ import annotations

from typing import Any

import pytest
from builders import TOY, entry, offer, variant
from google.protobuf import json_format
from msgspec.structs import replace
from tritonclient.grpc import service_pb2 as pb

from gateway.oip import describe
from model_repo.records import TensorSpec
from model_repo.tensors import DTYPES


def test_metadata_shows_the_batch_axis_and_every_version() -> None:
    found = describe.metadata(entry(offer(variant("ref"))), ["1", "2"])
    assert found == {
        "name": "toy", "versions": ["1", "2"], "platform": "farebox_null",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }  # fmt: skip
    message = json_format.ParseDict(found, pb.ModelMetadataResponse())
    assert list(message.inputs[0].shape) == [-1, 4]


def test_the_configuration_leaves_the_batch_axis_out() -> None:
    found = entry(offer(variant("ref")), offer(variant("big", sizes=(1, 64))))
    config = json_format.ParseDict(describe.config(found), _config())
    assert config.max_batch_size == 64 and config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [4] and list(config.output[0].dims) == [2]
    assert not config.model_transaction_policy.decoupled


def test_a_model_that_does_not_batch_has_its_whole_shape_and_no_batch_size() -> None:
    model = replace(TOY, batches=False)
    config = describe.config(entry(offer(variant("ref", sizes=(1,))), model=model))
    assert config["max_batch_size"] == 0 and config["input"][0]["dims"] == [-1, 4]
    assert "dynamic_batching" not in config


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_has_its_name_in_the_configuration(datatype: str) -> None:
    model = replace(TOY, inputs=(TensorSpec("x", datatype, (-1, 4)),))
    config = json_format.ParseDict(
        describe.config(entry(offer(variant("ref")), model=model)), _config()
    )
    wanted = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
    assert (
        config.DESCRIPTOR.file.enum_types_by_name["DataType"]
        .values_by_number[config.input[0].data_type]
        .name
        == wanted
    )


def test_the_server_lists_what_works() -> None:
    found = describe.server("farebox", "1.2")
    assert (found["name"], found["version"]) == ("farebox", "1.2")
    assert {"cost_routing", "classification"} <= set(found["extensions"])
    assert "cuda_shared_memory" not in found["extensions"]


def _config() -> Any:
    return pb.ModelConfigResponse().config
