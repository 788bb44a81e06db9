"""What stands between layers: rectifiers, gates, and shares that add up to 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compilers.tpu.onnx.call import Call, Operator
from compilers.tpu.onnx.jaxed import jax, jnp

_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _plain(compute: Callable[[Any], Any]) -> Operator:
    return lambda call: compute(call.array())


def _leaky_relu(call: Call) -> Any:
    array = call.array()
    return jnp.where(array < 0, array * call.attribute("alpha", 0.01), array)


def _elu(call: Call) -> Any:
    array = call.array()
    return jnp.where(array < 0, call.attribute("alpha", 1.0) * jnp.expm1(array), array)


def _celu(call: Call) -> Any:
    array, alpha = call.array(), call.attribute("alpha", 1.0)
    return jnp.maximum(array, 0) + jnp.minimum(0, alpha * jnp.expm1(array / alpha))


def _selu(call: Call) -> Any:
    array, alpha = call.array(), call.attribute("alpha", _SELU_ALPHA)
    kept = jnp.where(array > 0, array, alpha * jnp.expm1(array))
    return call.attribute("gamma", _SELU_GAMMA) * kept


def _hard_sigmoid(call: Call) -> Any:
    line = call.array() * call.attribute("alpha", 0.2) + call.attribute("beta", 0.5)
    return jnp.clip(line, 0, 1)


def _gelu(call: Call) -> Any:
    return jax.nn.gelu(call.array(), approximate=call.attribute("approximate", "none") == "tanh")


def _swish(call: Call) -> Any:
    array = call.array()
    return array * jax.nn.sigmoid(call.attribute("alpha", 1.0) * array)


def _thresholded_relu(call: Call) -> Any:
    array = call.array()
    return jnp.where(array > call.attribute("alpha", 1.0), array, 0)


def _shrink(call: Call) -> Any:
    array, bias, edge = call.array(), call.attribute("bias", 0.0), call.attribute("lambd", 0.5)
    inner = jnp.where(array > edge, array - bias, 0)
    return jnp.where(array < -edge, array + bias, inner).astype(array.dtype)


def _normed(compute: Callable[..., Any]) -> Operator:
    # Sums of many small shares lose too much in 16 bits.
    def apply(call: Call) -> Any:
        array = call.array()
        found = compute(array.astype(jnp.float32), axis=call.attribute("axis", -1))
        return found.astype(array.dtype)

    return apply


def _hardmax(array: Any, axis: int) -> Any:
    return jax.nn.one_hot(jnp.argmax(array, axis), array.shape[axis], axis=axis)


OPERATORS: dict[str, Operator] = {
    **{"Relu": _plain(lambda array: jnp.maximum(array, 0)), "Tanh": _plain(jnp.tanh)},
    **{"Sigmoid": _plain(jax.nn.sigmoid), "Softplus": _plain(jax.nn.softplus)},
    **{"Softsign": _plain(jax.nn.soft_sign), "Mish": _plain(jax.nn.mish), "Gelu": _gelu},
    "HardSwish": _plain(lambda array: array * jnp.clip(array / 6 + 0.5, 0, 1)),
    **{"LeakyRelu": _leaky_relu, "Elu": _elu, "Celu": _celu, "Selu": _selu, "Swish": _swish},
    **{"HardSigmoid": _hard_sigmoid, "ThresholdedRelu": _thresholded_relu, "Shrink": _shrink},
    **{"Softmax": _normed(jax.nn.softmax), "LogSoftmax": _normed(jax.nn.log_softmax)},
    "Hardmax": _normed(_hardmax),
}
