"""Turns ONNX into OpenVINO's graph and weights, one file, the same bytes from every process."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from compilers.graph import graphs, signs
from model_repo.errors import Unsupported
from model_repo.runtimes import openvino_ir
from model_repo.runtimes.openvino_ir import GRAPH, WEIGHTS

FILE = "model.ir.zip"
SLACK_BYTES = 2**20
_NUMBERED = re.compile(r"[A-Za-z0-9]+_[0-9]+")
_AT = (1980, 1, 1, 0, 0, 0)


def write(proto: Any, path: Path) -> None:
    """Write an onnx.ModelProto as an uncompressed zip of `model.xml` and `model.bin`.

    Raises Unsupported for operators that OpenVINO has not, and for bf16 on a CPU without it.
    """
    openvino = openvino_ir.load_openvino()
    precision = graphs.precision(proto)
    if precision and not openvino_ir.has_bf16():
        raise Unsupported("this CPU has no instructions for bf16 (avx512_bf16 or amx_bf16)")
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        given, xml, weights = (Path(name, file) for file in ("model.onnx", GRAPH, WEIGHTS))
        # Its int8 kernels are the fastest where the zero point is 0.
        graphs.write(signs.signed(_copy(proto)), given)
        try:
            graph = openvino.Core().read_model(given)
        except Exception as error:  # OpenVINO's errors share no parent but Exception
            raise Unsupported(
                f"OpenVINO cannot read the model: {openvino_ir.told(error)}"
            ) from error
        if precision:
            graph.set_rt_info(precision, openvino_ir.PRECISION)
        try:
            openvino.serialize(graph, xml, weights)
        except Exception as error:  # OpenVINO's errors share no parent but Exception
            # It gives no reason itself, and its file may be larger than the one that it was given.
            if shutil.disk_usage(name).free < 2 * given.stat().st_size + SLACK_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
            raise
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
            file.writestr(_entry(GRAPH), _renamed(xml.read_bytes()))
            file.writestr(_entry(WEIGHTS), weights.read_bytes())


def _copy(proto: Any) -> Any:
    own = type(proto)()
    own.CopyFrom(proto)
    return own


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _AT)
    # Else they would say on which system the file was made.
    entry.create_system = 3
    entry.external_attr = 0o644 << 16
    return entry


def _renamed(xml: bytes) -> bytes:
    """The graph with all that OpenVINO named `Type_number` numbered anew.

    It counts the nodes that the process ever made, so its own numbers differ from run to run.
    """
    tree = ElementTree.fromstring(xml)
    seen: Counter[str] = Counter()
    for layer in tree.iter("layer"):
        if _NUMBERED.fullmatch(layer.get("name", "")):
            kind = layer.get("type", "")
            layer.set("name", f"{kind}_{seen[kind]}")
            seen[kind] += 1
    text: bytes = ElementTree.tostring(tree, encoding="utf-8", xml_declaration=True)
    return text
