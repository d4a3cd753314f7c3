"""The local service under load: the first byte of many streams at once, and a turn in a session that grows.

The service runs in a process of its own, over Python's language reference. Nothing is asserted.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

STREAMS = 200
ROUNDS = 2
TURNS = (10, 500, 1000)
QUESTIONS = (
    "What does the with statement do?",
    "How are classes defined?",
    "When is finally executed?",
    "What is a yield?",
)
SERVER = """
import sys
from pydoc_data.topics import topics
from pathlib import Path
from meibel_integrations.local import LocalMeibel
folder = Path(sys.argv[1])
for name, text in topics.items():
    (folder / f"{name}.txt").write_text(text)
with LocalMeibel(folder, database=sys.argv[2]) as local:
    print(local.base_url, local.api_key, local.agent_id, flush=True)
    sys.stdin.read()
"""


@contextmanager
def service(database: str) -> Any:
    with TemporaryDirectory() as folder:
        docs = Path(folder) / "docs"
        docs.mkdir()
        path = database or str(Path(folder) / "x.db")
        command = [sys.executable, "-c", SERVER, str(docs), path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            yield process.stdout.readline().split()
            process.communicate()


class Client:
    """A minimal HTTP client: what it costs should not be taken for the service's time."""

    def __init__(self, base_url: str, key: str, agent_id: str) -> None:
        parts = urlsplit(base_url)
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path
        self._key = key
        self.agent_id = agent_id

    async def post(
        self, path: str, body: dict[str, Any], wait: asyncio.Event | None = None
    ) -> tuple[float, float, bytes]:
        """Seconds to the first byte of the body and to the end, and the body."""
        reader, writer = await asyncio.open_connection(self._host, self._port)
        if wait is not None:
            await wait.wait()
        data = json.dumps(body).encode()
        head = f"POST {self._path}{path} HTTP/1.1\r\nHost: localhost\r\nMeibel-API-Key: {self._key}\r\n"
        head += f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        begin = time.perf_counter()
        writer.write(head.encode() + data)
        await reader.readuntil(b"\r\n\r\n")
        first = await reader.read(1)
        first_at = time.perf_counter() - begin
        rest = await reader.read()
        writer.close()
        return first_at, time.perf_counter() - begin, first + rest

    async def session(self) -> str:
        _, _, body = await self.post(f"/agents/{self.agent_id}/sessions", {})
        return str(json.loads(body)["session_id"])

    async def stream(self, session: str, question: str, wait: asyncio.Event | None = None) -> tuple[float, float]:
        first, whole, body = await self.post(f"/sessions/{session}/chat/stream", {"user_message": question}, wait)
        assert b"completion" in body, body[-300:]
        return first, whole


async def many_streams(client: Client) -> None:
    for number in range(ROUNDS):
        sessions = [await client.session() for _ in range(STREAMS)]
        go = asyncio.Event()
        tasks = [
            asyncio.create_task(client.stream(session, QUESTIONS[i % len(QUESTIONS)], go))
            for i, session in enumerate(sessions)
        ]
        await asyncio.sleep(1)
        go.set()
        times = await asyncio.gather(*tasks)
        first, whole = sorted(first for first, _ in times), sorted(whole for _, whole in times)
        print(
            f"  round {number + 1}: first byte median {statistics.median(first):5.2f} s,"
            f" 95 % {first[int(0.95 * STREAMS)]:5.2f} s, last {first[-1]:5.2f} s;"
            f" whole answer median {statistics.median(whole):5.2f} s, last {whole[-1]:5.2f} s"
        )


async def long_session(client: Client) -> None:
    session = await client.session()
    times: list[float] = []
    for number in range(max(TURNS) + 1):
        times.append((await client.stream(session, QUESTIONS[number % len(QUESTIONS)]))[1])
        if number in TURNS:
            print(f"  turn {number:5}: {1000 * statistics.median(times[-10:]):6.1f} ms (median of ten)")


def main() -> None:
    for name, database in (("a file", ""), ("memory", ":memory:")):
        with service(database) as (base_url, key, agent_id):
            client = Client(base_url, key, agent_id)
            print(f"{STREAMS} streams at once, {name} (goal: first byte under 0.5 s at the median)")
            asyncio.run(many_streams(client))
            print(f"one session, {name} (goal: it does not grow)")
            asyncio.run(long_session(client))


if __name__ == "__main__":
    main()
