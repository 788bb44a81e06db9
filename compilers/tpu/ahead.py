"""A process of its own that compiles one StableHLO program with the real TPU compiler.

    python -m compilers.tpu.ahead model.stablehlo < wanted.json > compiled.jsonl

libtpu prints, leaves logs and may abort: none of that is to happen to whoever asks. It reads
[[topology, batch size], ...] and writes a line of JSON for each, a `Compiled` or {"error": why}.
"""

from __future__ import annotations

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from compilers.tpu.chips import PASSES
from model_repo.errors import in_one_line

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",  # libtpu is only a compiler here
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else a second process at the same time aborts
    "TPU_SKIP_MDS_QUERY": "1",  # ask no cloud metadata server which TPU this is
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",  # it complains without; any topology compiles
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "TPU_LOG_DIR": "disabled",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
AT_ONCE = 2
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_PRECISION = re.compile(r"operand_precision=\{(\w+),(\w+)\}")


def main() -> None:
    """Answer what stands on stdin, line by line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libtpu prints is no answer
    jax: Any = import_module("jax")
    import_module("jax.export")
    with open(sys.argv[1], "rb") as file:
        program = jax.export.deserialize(bytearray(file.read()))
    asked = json.load(sys.stdin)
    # libtpu may be started by one thread only, so before there are others.
    places = {topology: _place(jax, topology) for topology, _ in asked}

    def answer(wanted: tuple[str, int]) -> dict[str, Any]:
        topology, batch_size = wanted
        try:
            made = _compiled(jax, program, places[topology], batch_size)
            found: dict[str, Any] = {"topology": topology, "batch_size": batch_size, **made}
        except Exception as error:  # XLA's errors share no parent but Exception
            return {"error": in_one_line(error)}
        return found

    # One compilation keeps little more than one core busy; each takes its own memory, too.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(answer, asked):
            print(json.dumps(found), file=answers, flush=True)


def _place(jax: Any, topology: str) -> Any:
    """One chip of a topology."""
    topologies: Any = import_module("jax.experimental.topologies")
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    return jax.sharding.SingleDeviceSharding(found.devices[0])


def _compiled(jax: Any, program: Any, place: Any, batch_size: int) -> dict[str, Any]:
    """The figures of a `Compiled`, without what was asked for."""
    arguments = {
        name: jax.ShapeDtypeStruct(
            tuple(size if isinstance(size, int) else batch_size for size in aval.shape),
            aval.dtype,
            sharding=place,
        )
        for name, aval in program.in_tree.unflatten(program.in_avals)[0][0].items()
    }
    made = jax.jit(program.call).lower(arguments).compile()
    cost, memory, text = made.cost_analysis(), made.memory_analysis(), made.as_text()
    # The weights are constants, which count as code as well.
    resident = max(memory.peak_memory_in_bytes, memory.generated_code_size_in_bytes)
    passes = [PASSES.get(each, 1) for pair in _PRECISION.findall(text) for each in pair]
    return {
        "flops": cost.get("flops", 0.0),
        "bytes_accessed": cost.get("bytes accessed", 0.0),
        "optimal_s": cost.get("optimal_seconds", 0.0),
        "cycles": sum(int(count) for count in _CYCLES.findall(text)),
        "passes": max(passes, default=1),
        "memory_bytes": resident + memory.argument_size_in_bytes + memory.output_size_in_bytes,
    }


if __name__ == "__main__":
    main()
