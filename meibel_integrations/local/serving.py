"""The local service as a program: until Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from meibel_integrations.local.documents.given import Documents
from meibel_integrations.local.embedded import LocalMeibel

__all__ = ["serve"]


def serve(
    documents: Documents | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 8321,
    on_ready: Callable[[LocalMeibel], object] | None = None,
    **options: Any,
) -> None:
    """Run the service until Ctrl-C or SIGTERM. Takes the options of ``LocalMeibel`` and prints nothing.

    Raises:
        KeyboardInterrupt: Ctrl-C came while the documents were still being read.
    """
    with LocalMeibel(documents, host=host, port=port, **options) as local, _stop_signals() as stopped:
        if on_ready is not None:
            on_ready(local)
        stopped.wait()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set. Outside of the main thread, where there are no signals, nothing sets it."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.signal(number, lambda *_: stopped.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
