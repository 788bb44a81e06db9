"""Give a fresh network the layer widths of saved weights, so that pruned ones load again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_repo.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_resized(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load `state` into `module`, after setting each layer's widths from its tensors' shapes.

    Knows linear, convolution, batch-norm and layer-norm layers; raises BadInput for weights that
    do not fit any other layer.
    """
    for name, layer in module.named_modules():
        own = {
            key: state[path]
            for key in _own(layer)
            if (path := f"{name}.{key}" if name else key) in state
        }
        if any(getattr(layer, key).shape != tensor.shape for key, tensor in own.items()):
            _set_widths(layer, own, name)
    module.load_state_dict(state, strict=True)


def _own(layer: nn.Module) -> list[str]:
    return [
        name
        for name, _ in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))
    ]


def _set_widths(layer: nn.Module, own: dict[str, Tensor], name: str) -> None:
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase
    from torch.nn.modules.conv import _ConvNd

    weight = own["weight"] if "weight" in own else next(iter(own.values()))
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, _ConvNd) and not layer.transposed:
        # A depthwise layer has one input channel a group, however many are left.
        if layer.groups > 1 and layer.groups == layer.in_channels:
            layer.groups = weight.shape[0] // (layer.out_channels // layer.groups)
        layer.out_channels, layer.in_channels = weight.shape[0], weight.shape[1] * layer.groups
    elif isinstance(layer, _NormBase):
        layer.num_features = weight.shape[0]
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(weight.shape)
    else:
        raise BadInput(
            f"the layer {name!r} ({type(layer).__name__}) was saved in another shape than the "
            "source module builds: only linear, convolution and norm layers can be resized"
        )
    for key, tensor in own.items():
        old = getattr(layer, key)
        fresh = tensor.new_empty(tensor.shape)
        setattr(layer, key, nn.Parameter(fresh) if isinstance(old, nn.Parameter) else fresh)
