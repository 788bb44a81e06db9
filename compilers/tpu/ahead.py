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

import msgspec

from compilers.tpu.chips import PASSES, Compiled

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

    def answer(wanted: tuple[str, int]) -> dict[str, Any]:
        try:
            found: dict[str, Any] = msgspec.to_builtins(_compiled(jax, program, *wanted))
        except Exception as error:  # XLA's errors share no parent but Exception
            return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        return found

    # One compilation keeps little more than one core busy; each takes its own memory, too.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for found in pool.map(answer, json.load(sys.stdin)):
            print(json.dumps(found), file=answers, flush=True)


def _compiled(jax: Any, program: Any, topology: str, batch_size: int) -> Compiled:
    topologies: Any = import_module("jax.experimental.topologies")
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    place = jax.sharding.SingleDeviceSharding(found.devices[0])
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
    return Compiled(
        topology,
        batch_size,
        cost.get("flops", 0.0),
        cost.get("bytes accessed", 0.0),
        cost.get("optimal_seconds", 0.0),
        sum(int(count) for count in _CYCLES.findall(text)),
        max((PASSES.get(p, 1) for pair in _PRECISION.findall(text) for p in pair), default=1),
        resident + memory.argument_size_in_bytes + memory.output_size_in_bytes,
    )


if __name__ == "__main__":
    main()
