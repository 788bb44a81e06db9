"""Compressed bodies: there and back, bounded, and chosen by the weights that a client gives."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.oip import compression
from model_repo.errors import BadInput, Unsupported

ENCODINGS = st.sampled_from(["gzip", "deflate"])


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), ENCODINGS)
def test_what_is_compressed_comes_back(parts: list[bytes], encoding: str) -> None:
    whole = b"".join(parts)
    packed = compression.compress(parts, encoding)
    assert compression.decompress(packed, encoding, len(whole)) == whole
    assert {"gzip": gzip.decompress, "deflate": zlib.decompress}[encoding](packed) == whole


@given(st.binary(max_size=60), ENCODINGS)
def test_whatever_comes_is_read_or_refused(data: bytes, encoding: str) -> None:
    try:
        assert len(compression.decompress(data, encoding, 1000)) <= 1000
    except BadInput as error:
        assert encoding in str(error)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(BadInput, match="larger than 1000 bytes, the setting max_body_bytes"):
        compression.decompress(bomb, "gzip", 1000)
    members = gzip.compress(bytes(600)) * 2
    with pytest.raises(BadInput, match="larger than 1000 bytes"):
        compression.decompress(members, "gzip", 1000)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"), ("deflate, gzip;q=0.9", "deflate"), ("x, *;q=0.1", "gzip"),
        ("gzip;q=0.5;a=b, deflate ; q=0.6", "deflate"), ("gzip;q=nan", "identity"),
        ("gzip;q=0, *", "deflate"), ("", "identity"), (",;,", "identity"),
    ],
)  # fmt: skip
def test_the_greatest_weight_wins(accepted: str, encoding: str) -> None:
    assert compression.choose(accepted) == encoding


@given(st.text(max_size=40))
def test_any_accept_encoding_has_an_answer(accepted: str) -> None:
    assert compression.choose(accepted) in ("gzip", "deflate", "identity")


@pytest.mark.parametrize("encoding", ["br", "gzip, deflate", "x-gzip"])
def test_another_encoding_is_not_offered(encoding: str) -> None:
    with pytest.raises(Unsupported, match="use one of gzip, deflate"):
        compression.check(encoding)
    assert compression.check(" GZip ") == "gzip" and compression.check("") == "identity"
