"""Read an and-inverter graph as yosys writes it, and evaluate it for many rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from model_repo.tensors import Array

LANES = 64
"""Rows that one word stands for, a bit each."""

Gate = tuple[int, int]


@dataclass(frozen=True)
class Graph:
    """An and-inverter graph of literals 2 n and, inverted, 2 n + 1 (Biere et al. 2011, AIGER 1.9).

    0 is false; inputs come first, then latches, which start at 0, then gates, by level, each level
    as the literals that each of its gates takes [2, gates]. state: what each latch is next.
    """

    inputs: tuple[str, ...]
    state: Array
    outputs: Array
    levels: tuple[Array, ...]

    def run(self, given: Array) -> Array:
        """The outputs, uint64 [steps, outputs, words], at inputs [steps, inputs, words]."""
        first = 1 + len(self.inputs)
        gates = first + len(self.state)
        total = gates + sum(each.shape[1] for each in self.levels)
        values = np.zeros((total, 2, given.shape[2]), np.uint64)
        flat = values.reshape(2 * total, -1)
        values[:, 1] = ~values[:, 0]
        answers = []
        for step in given:
            _set(values[1:first], step)
            start = gates
            for taken in self.levels:
                end = start + taken.shape[1]
                _set(values[start:end], flat[taken[0]] & flat[taken[1]])
                start = end
            answers.append(flat[self.outputs])
            _set(values[first:gates], flat[self.state])
        return np.stack(answers)


def _set(values: Array, given: Array) -> None:
    values[:, 0] = given
    np.invert(given, out=values[:, 1])


def read(text: str) -> Graph:
    """The graph in an AIGER file in letters, gates that are constant or alike left out."""
    lines = text.splitlines()
    _, inputs, latches, outputs, gates = map(int, lines[0].split()[1:])
    first = 1 + inputs + latches
    assert lines[1 : 1 + inputs] == [str(2 * n) for n in range(1, 1 + inputs)], "ports come first"
    state = [line.split() for line in lines[1 + inputs : first]]
    assert all(len(each) == 2 for each in state), "yosys was told to let every latch start at 0"
    goals = [int(each[1]) for each in state]
    goals += map(int, lines[first : first + outputs])
    body = lines[first + outputs : first + outputs + gates]
    means, kept = _simplified(first, [tuple(map(int, line.split())) for line in body])
    goals = [means[each >> 1] ^ each & 1 for each in goals]
    means, levels = _levelled(first, kept, goals)
    found = np.array([means[each >> 1] ^ each & 1 for each in goals], np.intp)
    names = [line.split() for line in lines[first + outputs + gates :] if line[:1] == "i"]
    named = {int(place[1:]): name for place, name in names}
    ports = tuple(named[place] for place in range(inputs))
    return Graph(ports, found[:latches], found[latches:], levels)


def _simplified(first: int, gates: list[tuple[int, ...]]) -> tuple[list[int], list[Gate]]:
    """What literal each node comes to, and the gates that are left, numbered from `first`."""
    means = [2 * node for node in range(first)]
    known: dict[Gate, int] = {}
    for literal, left, right in gates:
        assert literal == 2 * len(means) > max(left, right), "gates come after what they take"
        a = means[left >> 1] ^ left & 1
        b = means[right >> 1] ^ right & 1
        low, high = min(a, b), max(a, b)
        if low == 0 or high == low ^ 1:
            means.append(0)
        elif low == 1 or high == low:
            means.append(high)
        else:
            means.append(known.setdefault((low, high), 2 * (first + len(known))))
    return means, list(known)


def _levelled(
    first: int, gates: list[Gate], goals: list[int]
) -> tuple[list[int], tuple[Array, ...]]:
    """The new literal of each node, and, by level, the gates that some goal depends on."""
    used = bytearray(first + len(gates))
    for literal in goals:
        used[literal >> 1] = 1
    for node in reversed(range(first, len(used))):
        if used[node]:
            for literal in gates[node - first]:
                used[literal >> 1] = 1
    depth = [0] * first
    for low, high in gates:
        depth.append(1 + max(depth[low >> 1], depth[high >> 1]))
    order = sorted((node for node in range(first, len(used)) if used[node]), key=depth.__getitem__)
    means = [2 * node for node in range(first)] + [0] * len(gates)
    for place, node in enumerate(order, first):
        means[node] = 2 * place
    levels = []
    for _, nodes in groupby(order, depth.__getitem__):
        taken = np.array([gates[node - first] for node in nodes], np.intp).T
        levels.append(np.array(means, np.intp)[taken >> 1] ^ taken & 1)
    return means, tuple(levels)
