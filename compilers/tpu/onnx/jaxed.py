"""jax, started, for the files of operators: they are imported only once a graph is turned."""

from __future__ import annotations

from typing import Any

from model_repo.jax_loading import load_jax

jax: Any = load_jax()
jnp: Any = jax.numpy
lax: Any = jax.lax
