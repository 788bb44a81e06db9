"""No graph says where it was made."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_files

from compilers.graph import graphs


def test_strips_every_place_a_path_can_hide(tmp_path: Path) -> None:
    secret = "/home/me/net.py"
    proto = onnx.load(onnx_files.linear(tmp_path / "given.onnx"))
    branch = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"], doc_string=secret)],
        "branch",
        [],
        [onnx.helper.make_tensor_value_info("y", 1, [1], doc_string=secret)],
    )
    proto.graph.node.append(onnx.helper.make_node("If", ["c"], ["z"], then_branch=branch))
    function = proto.functions.add(name="f", domain="d", doc_string=secret)
    function.node.add(op_type="Identity", doc_string=secret)
    proto.doc_string = proto.producer_name = proto.producer_version = secret
    proto.graph.doc_string = secret
    for item in (proto, proto.graph, proto.graph.node[0], proto.graph.input[0]):
        item.metadata_props.add(key="trace", value=secret)
    graphs.strip(proto)
    assert secret.encode() not in proto.SerializeToString()


def test_the_same_model_is_the_same_bytes(tmp_path: Path) -> None:
    proto = onnx.load(onnx_files.linear(tmp_path / "given.onnx"))
    for name in ("a", "b"):
        graphs.write(proto, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert onnx.load_from_string((tmp_path / "a").read_bytes()) == proto
