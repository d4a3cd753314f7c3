"""The local service inside a program: starting it, stopping it, and what tests need of it."""

from __future__ import annotations

import atexit
import html
import re
import sqlite3
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from meibel_integrations.config import is_loopback
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.answerers.interface import Answerer
from meibel_integrations.local.app import create_app
from meibel_integrations.local.context import LocalContext
from meibel_integrations.local.documents.given import Documents, GivenDocuments, read_documents
from meibel_integrations.local.faults.catalogue import Fault, FaultName, Faults
from meibel_integrations.local.http_server import ServerThread, address_of, bind
from meibel_integrations.local.limits import Limits
from meibel_integrations.local.page_tokens import PageTokens
from meibel_integrations.local.request_log import RequestLog
from meibel_integrations.local.routes.meibel import BASE_PATH
from meibel_integrations.local.search.embeddings import Vectors, embedding_model
from meibel_integrations.local.store import sessions, tenants, turn_log
from meibel_integrations.local.store.database import Database
from meibel_integrations.local.store.process_lock import ProcessLock
from meibel_integrations.local.store.tenants import DEFAULT_TENANT, AgentRow, IdSource, Keys, WantedAgent, name_keys
from meibel_integrations.local.turns.runner import TurnRunner
from meibel_integrations.local.wires.guide import GuideWire
from meibel_integrations.local.wires.interface import DialectName
from meibel_integrations.local.wires.v2 import V2Wire

if TYPE_CHECKING:
    from meibel_integrations.local.documents.report import IngestReport

__all__ = ["LocalMeibel"]

_JOIN_SECONDS = 2.0
_ID = re.compile(r"[\w.-]{1,128}", re.ASCII)
_KNOWN_WHEN_STARTED = frozenset(
    {"base_url", "llama_cloud_base_url", "api_key", "keys", "agent_id", "agent_ids", "index_id", "index_ids"}
    | {"ingest_report", "ingest_reports", "_db"}
)


class LocalMeibel:
    """The embedded service: a real HTTP server on this machine, over your own documents.

    A context manager, or ``start()`` and ``close()``.

    Args:
        documents: what the agent answers from, read when the service starts: files and folders, texts by name
            (``{"name.md": "text"}``), or documents of LangChain or LlamaIndex.
        database: where everything is kept: a file, or ``":memory:"``.
        agent: the agent's name. Agents that the database already has are served, too.
        dialect: ``"v2"`` answers as the official SDK expects, ``"guide"`` as Meibel's guide shows.
        answerer: makes the answers; one for all agents, or a mapping from agent names: an answerer, a LangChain chat
            model or a LlamaIndex LLM. Default: the quoting one.
        api_key: the key to accept. Default: the database's own, made when the database is.
        api_keys: further keys: a mapping from tenant names to keys, or a list of keys. A key is a tenant: it has the
            same agents and documents, and its own sessions.
        seed: makes session and signal ids and the default key the same at every run.
        agents: several agents by name, each with its documents; instead of ``documents`` and ``agent``.
        embedding: finds passages by their meaning, too: a LangChain or LlamaIndex embedding, or ``None`` for none.
            Default: WordLlama, where the extra ``embeddings`` is installed; it is loaded at the first question.
        agent_id, index_id: the agent's ids. Default: made from the agent's name and what its documents are called, so
            that they are the same at every start; random for an agent without documents.
        host: what to listen on. Anything but this machine's loopback needs an ``api_key``.
        port: the port; 0 takes a free one.
        partials: what the v2 dialect's ``partial_response`` carries: the new text (``"delta"``) or everything so far
            (``"snapshot"``). The documents do not say which the hosted service sends.
        heartbeat: seconds of silence after which a stream sends a comment.
        shutdown_grace: seconds that running turns get to finish when the service closes.
        max_file_bytes: the largest file that is ingested or uploaded.
        limits: all other limits.
        request_log_size: how many requests ``request_log`` remembers.
        progress: called while documents are ingested, as ``ingest_paths`` documents.

    Attributes:
        base_url, llama_cloud_base_url: what clients are given.
        api_key: the default tenant's key.
        keys: every key, by tenant.
        agent_id, index_id: of the first agent; ``agent_ids`` and ``index_ids`` hold all, by name.
        ingest_report: what became of the documents (``None`` if none were given); ``ingest_reports`` by agent.

    Raises:
        ConfigurationError: from ``start``: missing documents, a port that is taken, a file that is no database…
        RuntimeError: an attribute is read before the service was started.
    """

    def __init__(
        self,
        documents: Documents | None = None,
        database: str | Path = ":memory:",
        agent: str = "docs",
        dialect: DialectName = "v2",
        answerer: Answerer | Any | Mapping[str, Answerer | Any] | None = None,
        api_key: str | None = None,
        seed: int | str | None = None,
        agents: Mapping[str, Documents] | None = None,
        *,
        embedding: Any = "auto",
        agent_id: str | None = None,
        index_id: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        partials: Literal["delta", "snapshot"] = "delta",
        heartbeat: float = 15.0,
        shutdown_grace: float = 0.5,
        api_keys: Mapping[str, str] | Sequence[str] = (),
        max_file_bytes: int | None = None,
        limits: Limits | None = None,
        request_log_size: int = 1000,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if dialect not in ("v2", "guide"):
            raise ConfigurationError(f"dialect must be 'v2' or 'guide', not {dialect!r}")
        if partials not in ("delta", "snapshot"):
            raise ConfigurationError(f"partials must be 'delta' or 'snapshot', not {partials!r}")
        if agents is not None and documents is not None:
            raise ConfigurationError("give either documents= (for one agent) or agents= (documents by agent name)")
        if not is_loopback(host) and api_key is None:
            raise ConfigurationError(
                f"listening on {host!r} opens the service to the network: choose a key for it with api_key= (--api-key)"
            )
        if agents is not None and (agent_id or index_id):
            raise ConfigurationError("agent_id= and index_id= are for one agent, not for agents=")
        for name, given_id in (("agent_id", agent_id), ("index_id", index_id)):
            if given_id is not None and not _ID.fullmatch(given_id):
                raise ConfigurationError(f"{name} must be made of letters, digits and . _ -, not {given_id!r}")
        self._sources = {agent: documents} if agents is None else dict(agents)
        if not self._sources:
            raise ConfigurationError("agents= names no agent")
        self._chosen_ids = (agent_id, index_id)
        self._database = database
        self._dialect: DialectName = dialect
        self._answerer = _answerers(answerer)
        self._embedding = embedding_model(embedding)
        self._given_key = api_key
        self._more_keys = name_keys(api_keys)
        self._ids = IdSource(seed)
        self._host = host
        self._port = port
        self._heartbeat = heartbeat
        self._partials = partials
        self._grace = shutdown_grace
        self._limits = limits or Limits()
        self._max_file_bytes = max_file_bytes or self._limits.max_file_bytes
        self._progress = progress
        self._log = RequestLog(request_log_size, body_chars=64_000)
        self._faults = Faults()
        self._page_tokens = PageTokens()
        self._default_answerer: Answerer | None = None
        self._running: ExitStack | None = None
        self._closing = threading.Lock()

    # Life

    def start(self) -> LocalMeibel:
        """Open the database, read the documents, listen. Returns when requests are answered."""
        if self._running is not None:
            raise RuntimeError("the service is running already")
        with ExitStack() as stack:
            self._open(stack)
            self._running = stack.pop_all()
        # A program may end without closing: what runs is then told, and what is stored is complete.
        atexit.register(self.close)
        return self

    def close(self) -> None:
        """Give running turns a moment, then stop everything. Idempotent."""
        with self._closing:
            running, self._running = self._running, None
            if running is not None:
                atexit.unregister(self.close)
                running.close()

    def __repr__(self) -> str:
        running = self._running is not None
        return f"<LocalMeibel {self.base_url if running else 'that is not running'}, {', '.join(self._sources)}>"

    def __getattr__(self, name: str) -> Any:
        """Only reached for what is not there."""
        if name in _KNOWN_WHEN_STARTED:
            raise RuntimeError(
                f"LocalMeibel has no {name.lstrip('_')} before it is started:"
                " use `with LocalMeibel(...) as local:`, or call start()"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __enter__(self) -> LocalMeibel:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, stack: ExitStack) -> None:
        given = {name: read_documents(documents) for name, documents in self._sources.items()}
        db = stack.enter_context(Database(self._database))
        if not db.in_memory:
            lock = ProcessLock(db.path)
            stack.callback(lock.release)
            lock.acquire(lambda: db.write(partial(turn_log.fail_running_turns, error="the service ended meanwhile")))
        self.keys = db.write(lambda conn: tenants.ensure_keys(conn, self._ids, self._given_key, self._more_keys))
        self.api_key = self.keys[DEFAULT_TENANT]
        agents = self._ensure_agents(db, given)
        first = next(iter(self._sources))
        self.agent_ids = {agent.name: agent.agent_id for agent in agents}
        self.index_ids = {agent.name: agent.index_id for agent in agents}
        self.agent_id, self.index_id = self.agent_ids[first], self.index_ids[first]
        self.ingest_reports = self._ingest(db, given)
        self.ingest_report = self.ingest_reports.get(first)
        self._listen(stack, db)

    def _ensure_agents(self, db: Database, given: Mapping[str, GivenDocuments]) -> list[AgentRow]:
        """Every tenant has every agent that this service was given; the default tenant's agents are shown."""
        wanted = [WantedAgent(name, tuple(each.identity()), *self._chosen_ids) for name, each in given.items()]

        def ensure(conn: sqlite3.Connection) -> list[AgentRow]:
            for tenant in self.keys:
                for agent in wanted:
                    tenants.ensure_agent(conn, self._ids, tenant, agent)
            return tenants.list_agents(conn, DEFAULT_TENANT)

        return db.write(ensure)

    def _ingest(self, db: Database, given: Mapping[str, GivenDocuments]) -> dict[str, IngestReport]:
        reports: dict[str, IngestReport] = {}
        for name, each in given.items():
            if not each:
                continue
            # Imported when needed: a service without documents starts without it.
            from meibel_integrations.local.documents.pipeline import ingest_paths, ingest_texts
            from meibel_integrations.local.documents.report import IngestReport

            for tenant in self.keys:
                report, agent_id, limit = IngestReport(), self.agent_ids[name], self._max_file_bytes
                if each.paths:
                    report += ingest_paths(
                        db, tenant, agent_id, each.paths, max_file_bytes=limit, progress=self._progress
                    )
                if each.texts:
                    report += ingest_texts(db, tenant, agent_id, each.texts, max_bytes=limit)
                reports.setdefault(name, report)
        return reports

    def _listen(self, stack: ExitStack, db: Database) -> None:
        listener = stack.enter_context(bind(self._host, self._port))
        vectors = Vectors(db, self._embedding) if self._embedding else None
        runner = TurnRunner(db, self._ids, self._answerer_of, self._limits, vectors)
        context = LocalContext(
            db=db,
            ids=self._ids,
            keys=Keys(self.keys),
            wire=GuideWire() if self._dialect == "guide" else V2Wire(),
            runner=runner,
            answerer_of=self._answerer_of,
            limits=self._limits,
            log=self._log,
            faults=self._faults,
            page_tokens=self._page_tokens,
            host=self._host,
            heartbeat=self._heartbeat,
            snapshots=self._partials == "snapshot",
        )

        async def before_stop() -> None:
            await runner.aclose(self._grace)
            self._close_answerers()

        stack.callback(runner.join, _JOIN_SECONDS)
        server = ServerThread(listener, create_app(context), self._limits, before_stop)
        address = address_of(listener)
        server.start()
        stack.callback(server.stop)
        self._db = db
        self.llama_cloud_base_url = f"http://{address}"
        self.base_url = self.llama_cloud_base_url + BASE_PATH

    # The page

    def page_link(self) -> str:
        """A link to the service's page: a chat, and what goes on behind it. It opens without asking for the key once,
        within an hour; afterwards the page asks."""
        return f"{self.llama_cloud_base_url}/#token={self._page_tokens.issue(self.api_key)}"

    def open(self) -> bool:
        """Open the page in the browser. Whether there is one."""
        return webbrowser.open(self.page_link())

    def _repr_html_(self) -> str:
        """In a notebook: a link to the page."""
        if self._running is None:
            return html.escape(repr(self))
        return f'<a href="{html.escape(self.page_link())}" target="_blank" rel="noopener">Open the local service</a>'

    # Answerers

    def _answerer_of(self, agent: str) -> Answerer:
        given = self._answerer
        if isinstance(given, Mapping):
            given = given.get(agent)
        if given is not None:
            return given
        if self._default_answerer is None:
            from meibel_integrations.local.answerers.quoting import QuotingAnswerer

            self._default_answerer = QuotingAnswerer()
        return self._default_answerer

    def _close_answerers(self) -> None:
        """An answerer that can wait for something may have a ``close`` that ends the waiting."""
        given = self._answerer
        for answerer in given.values() if isinstance(given, Mapping) else [given]:
            close = getattr(answerer, "close", None)
            if close is not None:
                close()

    # What tests need

    def end_session(self, session_id: str, status: str = "COMPLETED") -> None:
        """Give a session (of any tenant of this service) a final status; it then accepts no further turns."""
        if status not in sessions.FINAL_STATUSES:
            raise ValueError(f"status must be one of {', '.join(sessions.FINAL_STATUSES)}, not {status!r}")
        end = partial(sessions.end_session, session_id=session_id, status=status)
        if not any(self._db.write(partial(end, tenant=tenant)) for tenant in self.keys):
            raise LookupError(f"there is no session {session_id!r}")

    def inject_fault(self, fault: FaultName, times: int = 1, **parameters: Any) -> None:
        """Make the service fail in this way at the next turn requests (of the default key). Faults queue up.

        ``parameters`` are those of :class:`~meibel_integrations.local.faults.catalogue.Fault`: ``runs``, ``after``,
        ``seconds``, ``retry_after``, ``location``.

        Raises:
            ValueError: there is no such fault or parameter.
        """
        self._faults.add(DEFAULT_TENANT, Fault(fault=fault, times=times, **parameters))

    def clear_faults(self) -> None:
        """Forget the faults that have not happened yet."""
        self._faults.clear(DEFAULT_TENANT)

    def request_log(self) -> list[dict[str, Any]]:
        """The requests so far: method, path, status, content_type and body of each, in order."""
        return self._log.entries()


def _answerers(given: Any) -> Answerer | dict[str, Answerer] | None:
    """Answerers as they are, and models made into answerers."""
    if given is None or hasattr(given, "answer"):
        answerer: Answerer | None = given
        return answerer
    from meibel_integrations.local.answerers.chat_model import as_answerer

    return {name: as_answerer(one) for name, one in given.items()} if isinstance(given, Mapping) else as_answerer(given)
