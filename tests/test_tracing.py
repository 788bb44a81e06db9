"""Why torch cannot follow a network, in one sentence a reader can act on."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compilers.graph import tracing


class Deciding(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x


class Fixed(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 3)


class Failing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such layer")


def refusal(module: nn.Module) -> str:
    with pytest.raises(Exception) as caught, tracing.quiet():
        torch.export.export(module, (torch.zeros(2, 3),))
    return tracing.refusal(caught.value)


def test_a_decision_on_data_is_shown_with_its_line(capfd: pytest.CaptureFixture[str]) -> None:
    said = refusal(Deciding())
    assert capfd.readouterr() == ("", "")
    assert "its forward decides by what the data is (line " in said
    assert "test_tracing.py: if x.sum() > 0:)" in said


def test_a_batch_that_is_fixed_is_not_taken_for_a_decision_on_data() -> None:
    free = ({0: torch.export.Dim("batch", min=1)},)
    with pytest.raises(Exception, match="batch") as caught, tracing.quiet():
        torch.export.export(Fixed(), (torch.zeros(2, 3),), dynamic_shapes=free)
    said = tracing.refusal(caught.value)
    assert "decides by" not in said and "constant" in said and "\n" not in said


def test_what_a_network_itself_raises_is_told() -> None:
    assert refusal(Failing()).startswith("KeyError: 'no such layer'")


def test_it_is_one_plain_sentence_through_every_wrapper() -> None:
    first = ValueError("\n\033[96mfirst\n  line\033[0m")
    wrapped = RuntimeError("\033[96mThis is step 1/3\033[0m")
    wrapped.__cause__ = first
    assert tracing.refusal(wrapped) == "ValueError: first line"
    assert tracing.refusal(ValueError()) == "ValueError: no reason given"


class Deep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), Factored())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


class Factored(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.qr(x.unsqueeze(2) @ x.unsqueeze(1))[0]


class Counting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[: int(x[0, 0].item())]


def test_a_number_taken_out_of_the_data_is_a_decision_on_data_too() -> None:
    said = refusal(Counting())
    assert said.startswith("its forward decides by what the data is (line ")
    assert "of test_tracing.py)" in said


def test_an_operator_without_words_is_named_with_its_layer() -> None:
    error = RuntimeError("This is step 3/3")
    error.__cause__ = RuntimeError(
        "No ONNX function found for <OpOverload(op='aten.linalg_qr', overload='default')>. Failure"
    )
    assert tracing.operator_of(error) == "aten.linalg_qr"
    assert tracing.operator_of(AssertionError("aten.linalg_qr.default\n\nWhile executing")) == (
        "aten.linalg_qr"
    )
    assert tracing.operator_of(ValueError("aten is no operator")) == ""
    with tracing.quiet():
        program = torch.export.export(Deep(), (torch.zeros(2, 3),))
    place = tracing.place_of("aten.linalg_qr", program)
    assert place.startswith(" in the layer 'inner.1' (line ") and "torch.linalg.qr(" in place
    assert tracing.place_of("aten.none", program) == ""
