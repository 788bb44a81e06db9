"""Counts in the words of Triton's statistics."""

from __future__ import annotations

from google.protobuf import json_format
from tritonclient.grpc import service_pb2 as pb

from gateway.core.statistics import Statistics, Took
from model_repo.records import VariantKey

A, B = VariantKey("m", "1", "a"), VariantKey("m", "1", "b")


def test_a_model_is_the_sum_of_its_variants() -> None:
    made = Statistics()
    made.of(A).batch(4, 2, Took(10, 100, 5))
    made.of(A).add("success", 300)
    made.of(B).batch(4, 1, Took(1, 50, 2))
    made.of(B).last_ms = 9
    made.of(VariantKey("m", "1", "")).add("fail", 7)
    made.of(VariantKey("m", "2", "a")).add("fail", 1000)
    document = made.sum("m", "1").document("m", "1")
    assert (document["inference_count"], document["execution_count"]) == (8, 2)
    assert document["last_inference"] == 9
    parts = document["inference_stats"]
    assert parts["compute_infer"] == {"count": 3, "ns": 250}
    assert parts["compute_input"] == {"count": 3, "ns": 21}
    assert parts["success"] == {"count": 1, "ns": 300} and parts["fail"] == {"count": 1, "ns": 7}
    assert document["batch_stats"] == [
        {
            "batch_size": 4,
            "compute_input": {"count": 2, "ns": 11},
            "compute_infer": {"count": 2, "ns": 150},
            "compute_output": {"count": 2, "ns": 7},
        }
    ]
    assert made.of(A).document("m", "1")["inference_count"] == 4


def test_a_document_is_a_message_of_the_protocol() -> None:
    made = Statistics()
    made.of(A).batch(1, 1, Took(1, 2, 3))
    document = {"model_stats": [made.sum("m", "1").document("m", "1")]}
    message = json_format.ParseDict(document, pb.ModelStatisticsResponse())
    assert message.model_stats[0].inference_stats.compute_output.ns == 3
