from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.errors import ProtocolError
from meibel_integrations.protocol.content_encoding import Decoder


def decode(chunks: list[bytes], encoding: str | None) -> list[bytes]:
    decoder = Decoder(encoding)
    pieces = [piece for chunk in chunks for piece in decoder.feed(chunk)]
    decoder.close()
    return pieces


@given(st.binary(max_size=200), st.integers(1, 50))
def test_bodies_come_out_as_they_went_in(body: bytes, size: int) -> None:
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body)), (None, body)):
        chunks = [packed[i : i + size] for i in range(0, len(packed), size)]
        assert b"".join(decode(chunks, encoding)) == body


def test_a_bomb_comes_out_in_small_pieces() -> None:
    packed = gzip.compress(bytes(10_000_000))
    assert len(packed) < 20_000
    decoder = Decoder("gzip")
    assert max(len(piece) for piece in decoder.feed(packed)) <= 64 * 1024


def test_a_body_that_is_cut_off_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="cut off"):
        decode([gzip.compress(b"hello" * 100)[:-9]], "gzip")


def test_a_broken_body_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="broken"):
        decode([b"not gzip at all"], "gzip")


def test_an_encoding_that_was_not_asked_for_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="'br'"):
        Decoder("br")


def test_what_follows_the_compressed_data_is_left_alone() -> None:
    packed = gzip.compress(b"hello")
    decoder = Decoder("gzip")
    assert b"".join(decoder.feed(packed + b"rest")) == b"hello"
    assert list(decoder.feed(b"and more" * 1000)) == []
    decoder.close()
