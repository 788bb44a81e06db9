"""What a model asks of a GPU at one batch size: kernels, with their operations and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compilers.gpu.cards import Precision


@dataclass(frozen=True)
class Kernel:
    """One launch. flops: a multiplication and an addition count as two. moved_bytes: to and from
    memory, weights among them. is_fused: a compiler puts it at the end of the kernel before."""

    name: str
    flops: float
    moved_bytes: float
    precision: Precision
    is_fused: bool = False


@dataclass(frozen=True)
class Load:
    """All of one batch. weight_bytes: read once a run; io_bytes: the batch itself, in and out."""

    kernels: Sequence[Kernel]
    weight_bytes: float
    io_bytes: float

    @property
    def flops(self) -> float:
        """Operations of all kernels."""
        return sum(kernel.flops for kernel in self.kernels)

    @property
    def moved_bytes(self) -> float:
        """Bytes that all kernels move if each goes to memory and back."""
        return sum(kernel.moved_bytes for kernel in self.kernels)

    @property
    def memory_bytes(self) -> float:
        """The weights, and the tensors of the kernel that holds most at once."""
        return self.weight_bytes + max((k.moved_bytes for k in self.kernels), default=0.0)
