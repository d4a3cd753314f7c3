"""SSE parse + decode + fold of a 230-byte event, against a bare split + JSON loop."""

from __future__ import annotations

from memory_wire import EVENT_BYTES, bare_loop, chunks_of, pieces
from side_by_side import Goal, measure, report

from meibel_integrations.protocol.accumulator import TurnAccumulator
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.sse import SSEParser

COUNT = 20_000
DIALECT = MeibelDialect()


def parse(chunks: list[bytes]) -> int:
    parser = SSEParser()
    return sum(len(parser.feed(chunk)) for chunk in chunks)


def parse_and_decode(chunks: list[bytes]) -> int:
    parser = SSEParser()
    count = 0
    for chunk in chunks:
        for event in parser.feed(chunk):
            DIALECT.decode(event)
            count += 1
    return count


def parse_decode_and_fold(chunks: list[bytes]) -> int:
    parser, turn = SSEParser(), TurnAccumulator("s")
    count = 0
    for chunk in chunks:
        for event in parser.feed(chunk):
            count += len(turn.apply(DIALECT.decode(event)))
    return count


def main() -> None:
    single = chunks_of(pieces(COUNT))[1:-1]
    assert {len(chunk) for chunk in single} <= {EVENT_BYTES - 1, EVENT_BYTES}
    whole = b"".join(single)
    blocks = [whole[at : at + 65_536] for at in range(0, len(whole), 65_536)]
    cut = [whole[at : at + 100] for at in range(0, len(whole), 100)]
    ways = {"one event per chunk": single, "chunks of 64 KiB": blocks, "chunks of 100 bytes": cut}
    for title, chunks in ways.items():
        spent = measure(
            {
                "bare loop": lambda chunks=chunks: bare_loop(chunks),  # type: ignore[misc]
                "SSE parser": lambda chunks=chunks: parse(chunks),  # type: ignore[misc]
                "parser + decode": lambda chunks=chunks: parse_and_decode(chunks),  # type: ignore[misc]
                "parser + decode + fold": lambda chunks=chunks: parse_decode_and_fold(chunks),  # type: ignore[misc]
            }
        )
        report(title, spent, COUNT, [Goal("parser + decode + fold", ("bare loop",), 2.0)])


if __name__ == "__main__":
    main()
