"""Tenants, their keys and their agents, and where new ids come from.

A key is a tenant: everything that is stored names the tenant that it belongs to. Agents have the same ids for every
tenant of a database, so that one address and one agent id serve several keys, each with its own sessions.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.store.group_commit import run_script

DEFAULT_TENANT = "default"


def create_tables(conn: sqlite3.Connection) -> None:
    """Migration: keys, agents, id counters."""
    run_script(
        conn,
        """
        CREATE TABLE api_keys (
            tenant TEXT PRIMARY KEY,
            api_key TEXT NOT NULL UNIQUE
        ) STRICT;
        CREATE TABLE agents (
            tenant TEXT NOT NULL,
            agent_id TEXT NOT NULL,
            index_id TEXT NOT NULL,
            name TEXT NOT NULL,
            created_at TEXT NOT NULL,
            PRIMARY KEY (tenant, agent_id),
            UNIQUE (tenant, name),
            UNIQUE (tenant, index_id)
        ) STRICT;
        CREATE TABLE id_counters (
            tenant TEXT NOT NULL,
            kind TEXT NOT NULL,
            value INTEGER NOT NULL,
            PRIMARY KEY (tenant, kind)
        ) STRICT;
        """,
    )


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent of one tenant. ``index_id`` names the same documents for the LlamaCloud routes."""

    agent_id: str
    index_id: str
    name: str
    created_at: str


def now() -> str:
    """The time as it is stored and sent: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Keys:
    """The keys of a service, by tenant. Both of its APIs take the same ones."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = [(tenant, key.encode()) for tenant, key in keys.items()]

    def find(self, given: str) -> str | None:
        """Compares with every key in constant time, so that neither a prefix nor a position can be measured."""
        candidate = given.encode("utf-8", "surrogateescape")
        found = None
        for tenant, key in self._keys:
            if hmac.compare_digest(candidate, key):
                found = tenant
        return found


class IdSource:
    """New ids. Those of agents follow from what their documents are called; sessions, signals and keys are random, or
    with a seed the same ones in the same order (per tenant and kind)."""

    def __init__(self, seed: int | str | None = None) -> None:
        self._seed = seed

    def key(self, tenant: str) -> str:
        """A key for a tenant that brought none."""
        token = secrets.token_hex(16) if self._seed is None else self._digest("key", tenant)[:32]
        return f"mbl_local_{token}"

    def named(self, kind: str, name: str, documents: Sequence[str] = ()) -> str:
        """The id of an agent or an index: the same for the same name and documents, wherever it is made.

        Nothing tells one agent without documents from another of its name: without a seed, its id is random.
        """
        known = documents or self._seed is not None
        token = self._digest(kind, name, *documents) if known else uuid.uuid4().hex
        return f"{kind}_{token[:16]}"

    def next(self, conn: sqlite3.Connection, tenant: str, kind: str) -> str:
        """The next id of a session or signal, in UUID form. Runs in the transaction that stores the thing."""
        if self._seed is None:
            return str(uuid.uuid4())
        (value,) = conn.execute(
            "INSERT INTO id_counters (tenant, kind, value) VALUES (?, ?, 1)"
            " ON CONFLICT (tenant, kind) DO UPDATE SET value = value + 1 RETURNING value",
            (tenant, kind),
        ).fetchone()
        return str(uuid.UUID(self._digest(kind, tenant, str(value))[:32]))

    def _digest(self, *parts: str) -> str:
        return hashlib.sha256("\x1f".join((str(self._seed), *parts)).encode()).hexdigest()


def ensure_keys(
    conn: sqlite3.Connection, ids: IdSource, api_key: str | None, more: Mapping[str, str]
) -> dict[str, str]:
    """Store the given keys and, for the default tenant, a key where there is none yet. All keys, by tenant."""
    if api_key is not None:
        _store_key(conn, DEFAULT_TENANT, api_key)
    for tenant, key in more.items():
        _store_key(conn, tenant, key)
    keys = dict(conn.execute("SELECT tenant, api_key FROM api_keys ORDER BY tenant"))
    if DEFAULT_TENANT not in keys:
        keys[DEFAULT_TENANT] = ids.key(DEFAULT_TENANT)
        _store_key(conn, DEFAULT_TENANT, keys[DEFAULT_TENANT])
    return keys


def name_keys(keys: Mapping[str, str] | Sequence[str]) -> dict[str, str]:
    """Keys by tenant. A key that came without a name is a tenant by itself, also after reopening.

    Raises:
        ConfigurationError: a key does not fit into a header.
    """
    if isinstance(keys, Mapping):
        named = dict(keys)
    else:
        named = {f"key-{hashlib.sha256(key.encode()).hexdigest()[:12]}": key for key in keys}
    for tenant, key in named.items():
        if not key or not key.isascii():
            raise ConfigurationError(f"the key of {tenant!r} is empty or not ASCII; it has to fit into a header")
    return named


def _store_key(conn: sqlite3.Connection, tenant: str, key: str) -> None:
    conn.execute(
        "INSERT INTO api_keys (tenant, api_key) VALUES (?, ?)"
        " ON CONFLICT (tenant) DO UPDATE SET api_key = excluded.api_key",
        (tenant, key),
    )


@dataclass(frozen=True, slots=True)
class WantedAgent:
    """An agent that a service is to have. Ids are made where none are given."""

    name: str
    documents: tuple[str, ...] = ()
    agent_id: str | None = None
    index_id: str | None = None


def ensure_agent(conn: sqlite3.Connection, ids: IdSource, tenant: str, wanted: WantedAgent) -> AgentRow:
    """The tenant's agent of that name, made if it is not there. Its ids are those it has for any other tenant.

    Raises:
        ConfigurationError: it has another id already than it is to have, or another agent has that id.
    """
    row = conn.execute("SELECT agent_id, index_id FROM agents WHERE name = ? LIMIT 1", (wanted.name,)).fetchone()
    agent_id, index_id = row or (
        wanted.agent_id or ids.named("agent", wanted.name, wanted.documents),
        wanted.index_id or ids.named("idx", wanted.name, wanted.documents),
    )
    for has, given in ((agent_id, wanted.agent_id), (index_id, wanted.index_id)):
        if given not in (None, has):
            raise ConfigurationError(
                f"the database has the agent {wanted.name!r} under the id {has!r} already; it cannot become {given!r}"
            )
    others = "SELECT name FROM agents WHERE name != ? AND (agent_id = ? OR index_id = ?)"
    if taken := conn.execute(others, (wanted.name, agent_id, index_id)).fetchone():
        raise ConfigurationError(f"the database's agent {taken[0]!r} has one of the ids {agent_id!r}, {index_id!r}")
    conn.execute(
        "INSERT INTO agents (tenant, agent_id, index_id, name, created_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, name) DO NOTHING",
        (tenant, agent_id, index_id, wanted.name, now()),
    )
    found = find_agent(conn, tenant, name=wanted.name)
    assert found is not None
    return found


def find_agent(
    conn: sqlite3.Connection, tenant: str, *, agent_id: str | None = None, name: str | None = None
) -> AgentRow | None:
    row = conn.execute(
        "SELECT agent_id, index_id, name, created_at FROM agents WHERE tenant = ? AND (agent_id = ? OR name = ?)",
        (tenant, agent_id, name),
    ).fetchone()
    return AgentRow(*row) if row else None


def agent_ids(conn: sqlite3.Connection, name: str) -> dict[str, str]:
    """The ids of all agents of that name, by tenant."""
    return dict(conn.execute("SELECT tenant, agent_id FROM agents WHERE name = ? ORDER BY tenant", (name,)))


def list_agents(conn: sqlite3.Connection, tenant: str) -> list[AgentRow]:
    """All agents of the tenant, oldest first."""
    rows = conn.execute(
        "SELECT agent_id, index_id, name, created_at FROM agents WHERE tenant = ? ORDER BY created_at, rowid",
        (tenant,),
    )
    return [AgentRow(*row) for row in rows]
