"""Where an internal of another library is touched, this fails when it changes."""

from __future__ import annotations

import inspect
from importlib.metadata import requires

import httpcore
import httpx
from packaging.requirements import Requirement


def test_the_pool_that_a_cancelled_request_is_cleared_from_is_as_expected() -> None:
    """``transports.httpx_async`` closes connections that httpcore forgets. It needs these names."""
    client = httpx.AsyncClient()
    assert isinstance(client._transport, httpx.AsyncHTTPTransport)
    assert isinstance(client._mounts, dict)
    pool = client._transport._pool
    assert isinstance(pool, httpcore.AsyncConnectionPool)
    assert (pool._requests, pool.connections) == ([], [])
    assert "connection" in inspect.getsource(httpcore._async.connection_pool.AsyncPoolRequest.__init__)


def test_the_releases_that_were_looked_at_are_the_ones_that_are_allowed() -> None:
    (declared,) = [r for r in map(Requirement, requires("meibel-integrations") or ()) if r.name == "httpcore"]
    assert httpcore.__version__ in declared.specifier
    assert "2.0" not in declared.specifier
