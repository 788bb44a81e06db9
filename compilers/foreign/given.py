"""Read the data and labels that a user gives for a foreign model, and refuse what does not fit."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from compilers.datasets import Data
from compilers.foreign.signature import Port
from compilers.profiling.calls import is_whole
from compilers.profiling.scoring import finite_rows
from model_repo.errors import BadInput
from model_repo.tensors import DTYPES, Array


def read(
    path: Path, labels: Path | None, ports: Sequence[Port], say: Callable[[str], None]
) -> Data:
    """An .npz with one array for each input, equally long, and an .npy of labels.

    Each row is one row of the input, or a whole tensor of it. A cast that loses nothing, and
    float64 to FP32, is made and said; any other wrong datatype, name or shape is BadInput. Rows
    that hold NaN or infinity are left out, which is said, unless all do: a model that takes NaN
    for a missing value is judged on them.
    """
    arrays = _open(path, "data", ".npz file of one array for each input")
    if isinstance(arrays, np.ndarray):
        raise BadInput(
            f"the data {path} is a single array, but an .npz file of one array for each input is "
            f"expected: write it with np.savez({path.with_suffix('.npz').name!r}, "
            f"{ports[0].name}=array)"
        )
    _check_names(path, set(arrays), ports)
    inputs = {port.name: _cast(arrays[port.name], port, say) for port in ports}
    for port in ports:
        _check_shape(inputs[port.name], port)
    rows = {name: len(array) for name, array in inputs.items()}
    if len(set(rows.values())) > 1 or not min(rows.values()):
        raise BadInput(f"the data {path} has rows {rows}: make them equally many, at least one")
    data = Data(inputs, _labels(labels, min(rows.values())) if labels else None)
    return _finite(path, data, say)


def _finite(path: Path, data: Data, say: Callable[[str], None]) -> Data:
    """The rows of finite values alone; all of them if there are none."""
    finite = {name: finite_rows(array) for name, array in data.inputs.items()}
    kept = np.logical_and.reduce(list(finite.values()))
    if kept.all():
        return data
    first = int(kept.argmin())
    name = next(name for name, rows in finite.items() if not rows[first])
    what = (
        f"{len(kept) - kept.sum()} of {len(kept)} rows of the data {path} hold NaN or infinity, "
        f"the first of them row {first}, counted from 0, in {name!r}"
    )
    if not kept.any():
        say(f"{what}: as there are no others, they are kept")
        return data
    say(f"{what}: they are left out")
    return data.take(kept)


def _open(path: Path, what: str, expected: str) -> Array | dict[str, Array]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return loaded if isinstance(loaded, np.ndarray) else dict(loaded)
    except OSError as error:
        raise BadInput(f"the {what} {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"the {what} {path} is no {expected} ({error}): write it with "
            f"{'np.savez' if what == 'data' else 'np.save'}, strings as an array of str, "
            "not of objects"
        ) from error


def _check_names(path: Path, given: set[str], ports: Sequence[Port]) -> None:
    wanted = {port.name for port in ports}
    if given != wanted:
        raise BadInput(
            f"the data {path} has the arrays {sorted(given)}, but the model's inputs "
            f"are {sorted(wanted)}: name one array after each"
        )


def _cast(array: Array, port: Port, say: Callable[[str], None]) -> Array:
    wanted = DTYPES[port.datatype]
    if array.dtype == wanted:
        return array
    if array.dtype.kind in "SU" and port.datatype == "BYTES":
        _check_text(array, port)
        return array.astype(object)
    if array.dtype.kind in "iuf" and array.dtype.kind == _kind(port):
        with np.errstate(all="ignore"):  # a value that does not fit is found by comparing
            cast_array = array.astype(wanted)
            is_exact = np.array_equal(cast_array.astype(array.dtype), array, equal_nan=True)
        if is_exact or (array.dtype == np.float64 and port.datatype == "FP32"):
            say(f"the data for {port.name!r} is {array.dtype}: cast to {port.datatype}")
            return cast_array
    raise BadInput(
        f"the data for {port.name!r} is {array.dtype}, but the input is "
        f"{port.datatype}: save it as {_advice(port)}"
    )


def _check_text(array: Array, port: Port) -> None:
    if array.dtype.kind != "S":
        return
    for row, part in enumerate(array):
        try:
            b"".join(np.ravel(part)).decode()
        except UnicodeDecodeError as error:
            raise BadInput(
                f"the data for {port.name!r} holds a string that is not UTF-8, in row {row}: "
                "save it as an array of str"
            ) from error


def _kind(port: Port) -> str:
    if port.datatype.startswith(("FP", "BF")):
        return "f"
    return "i" if port.datatype.startswith("INT") else DTYPES[port.datatype].kind


def _advice(port: Port) -> str:
    if port.datatype == "BYTES":
        return "an array of str"
    return "float32" if port.datatype == "BF16" else str(DTYPES[port.datatype])


def _check_shape(array: Array, port: Port) -> None:
    shape = port.shape or ()
    fits = array.shape[1:] if is_whole(array, shape) else (None, *array.shape[1:])
    if (
        array.ndim == 0
        or len(fits) != len(shape)
        or any(
            want not in (-1, got) for want, got in zip(shape, fits, strict=True) if got is not None
        )
    ):
        raise BadInput(
            f"the data for {port.name!r} has the shape {list(array.shape)}, but the input is "
            f"{list(shape)}: give rows of it, or one axis more, each row a whole tensor"
        )


def _labels(path: Path, rows: int) -> Array:
    labels = _open(path, "labels", ".npy file of one array")
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iuUS":
        kind = labels.dtype if isinstance(labels, np.ndarray) else "a file of several arrays"
        raise BadInput(
            f"the labels {path} are {kind}: save one array of integers or strings with np.save"
        )
    if labels.shape not in ((rows,), (rows, 1)):
        raise BadInput(
            f"the labels {path} have the shape {list(labels.shape)}, but the data has "
            f"{rows} rows: give one label for each, [{rows}] or [{rows}, 1]"
        )
    labels = labels.reshape(rows)
    return labels.astype(object) if labels.dtype.kind in "US" else labels
