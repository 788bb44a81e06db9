"""An and-inverter graph answers, many rows at once, as its gates do one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compilers.fpga import aiger

INPUTS, LATCHES, OUTPUTS = 3, 4, 2


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """For each gate, latch and output, the literals that it takes."""
    first, gates = 1 + INPUTS + LATCHES, draw(st.integers(0, 40))
    taken = [[draw(st.integers(0, 2 * (first + n) - 1)) for _ in range(2)] for n in range(gates)]
    last = 2 * (first + gates) - 1
    goals = st.integers(0, last)
    return [*taken, *([draw(goals)] for _ in range(LATCHES + OUTPUTS))]


def write(graph: list[list[int]]) -> str:
    first, gates = 1 + INPUTS + LATCHES, len(graph) - LATCHES - OUTPUTS
    lines = [f"aag {first + gates - 1} {INPUTS} {LATCHES} {OUTPUTS} {gates}"]
    lines += [str(2 * n) for n in range(1, 1 + INPUTS)]
    goals = [each for (each,) in graph[gates:]]
    lines += [f"{2 * (1 + INPUTS + n)} {each}" for n, each in enumerate(goals[:LATCHES])]
    lines += [str(each) for each in goals[LATCHES:]]
    lines += [f"{2 * (first + n)} {high} {low}" for n, (high, low) in enumerate(graph[:gates])]
    return "\n".join([*lines, *(f"i{n} port{n}" for n in range(INPUTS)), "o0 out", "c", "text"])


def answer(graph: list[list[int]], steps: list[list[int]]) -> list[list[int]]:
    """The outputs at each step, gate by gate."""
    latches, answers = [0] * LATCHES, []
    for step in steps:
        values = [0, *step, *latches]
        found = []
        for taken in graph:
            bits = [values[literal >> 1] ^ literal & 1 for literal in taken]
            if len(taken) == 2:
                values.append(bits[0] & bits[1])
            else:
                found += bits
        latches = found[:LATCHES]
        answers.append(found[LATCHES:])
    return answers


@given(graphs(), st.integers(0, 2**32 - 1))
def test_a_graph_answers_as_its_gates_do_one_by_one(graph: list[list[int]], seed: int) -> None:
    found = aiger.read(write(graph))
    assert found.inputs == ("port0", "port1", "port2")
    steps = np.random.default_rng(seed).integers(0, 2**64, (5, INPUTS, 2), np.uint64)
    answers = found.run(steps)
    for word, lane in ((0, 0), (0, 63), (1, 17)):
        seen = steps[:, :, word] >> np.uint64(lane) & np.uint64(1)
        wanted = answer(graph, seen.astype(int).tolist())
        assert (answers[:, :, word] >> np.uint64(lane) & np.uint64(1)).tolist() == wanted


def test_gates_that_are_constant_or_alike_or_unused_are_left_out() -> None:
    low, high = 2 * 1, 2 * 2
    gates = [[high, low], [low, high], [low, low + 1], [low, 1], [16, 18], [6, 4]]
    graph = [*gates, [0], [0], [0], [0], [24], [20]]
    found = aiger.read(write(graph))
    assert [each.shape for each in found.levels] == [(2, 1)]
    assert found.outputs.tolist() == [2 * (1 + INPUTS + LATCHES), 0]
