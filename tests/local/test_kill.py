"""``kill -9`` in the middle of turns: nothing that was acknowledged is lost, and nothing happens twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from meibel_integrations import MeibelClient, errors
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.llamaindex import MeibelChatEngine

ROUNDS = 10

SERVER = """
import sys, threading
from meibel_integrations.local import ScriptedAnswerer, serve
from meibel_integrations.local import Delta, Done

def slowly(question):
    # Long enough to be killed inside of, short enough to be finished sometimes.
    for word in f"You said {question.text} and here is what I think about it.".split(" "):
        threading.Event().wait(0.01)
        yield Delta(word + " ")
    yield Done()

serve(database=sys.argv[1], port=int(sys.argv[2]), api_key="k", answerer=ScriptedAnswerer(slowly),
      on_ready=lambda local: print(local.base_url, local.agent_id, flush=True))
"""


def answer_to(message: str) -> str:
    return f"You said {message} and here is what I think about it. "


class Served:
    """The service in a process of its own, always on the same file and, once known, on the same port."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.base_url = self.agent_id = ""

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        arguments = [sys.executable, "-c", SERVER, str(self._path), str(self._port)]
        self._process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)
        assert self._process.stdout is not None
        self.base_url, self.agent_id = self._process.stdout.readline().split()
        self._port = int(self.base_url.rpartition(":")[2].removesuffix("/v2"))

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()


@contextmanager
def served(path: Path) -> Iterator[Served]:
    service = Served(path)
    service.start()
    try:
        yield service
    finally:
        service.kill()


Told = Callable[[], object]


def ask_client(client: MeibelClient, session: str, message: str, told: Told) -> str:
    text = ""
    with client.sessions.send_chat_message_stream(session, user_message=message) as events:
        told()
        for event in events:
            told()
            text += event.delta if event.type == "content" else ""
    assert events.reply is not None
    assert events.reply.message == text
    return text


def ask_langchain(client: MeibelClient, session: str, message: str, told: Told) -> str:
    text = ""
    for chunk in ChatMeibel(agent_id=None, session_id=session, client=client, reconcile_grace=2).stream(message):
        told()
        text += str(chunk.content)
    return text


def ask_llamaindex(client: MeibelClient, session: str, message: str, told: Told) -> str:
    text = ""
    engine = MeibelChatEngine(session_id=session, client=client, reconcile_grace=2)
    for piece in engine.stream_chat(message).response_gen:
        told()
        text += piece
    return text


def ask_and_kill(
    service: Served, ask: Callable[..., str], client: MeibelClient, session: str, message: str, after: int
) -> str | errors.MeibelIntegrationError:
    """What a waiting client ends in, when the service is killed once it has told that many times, and started again."""
    reached = threading.Event()
    count = 0

    def told() -> None:
        nonlocal count
        count += 1
        if count > after:
            reached.set()

    def asking() -> str | errors.MeibelIntegrationError:
        try:
            return ask(client, session, message, told)
        except errors.MeibelIntegrationError as error:
            return error
        finally:
            reached.set()

    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(asking)
        if after >= 0:
            assert reached.wait(60)
        service.kill()
        service.start()
        return waiting.result(60)


def test_a_service_that_is_killed_in_its_turns_loses_and_repeats_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    sent: list[str] = []
    acknowledged: dict[str, str | None] = {}
    outcomes: list[str | errors.MeibelIntegrationError] = []
    with (
        served(tmp_path / "x.db") as service,
        MeibelClient("k", service.base_url, reconcile_grace=2, max_retries=5) as client,
    ):
        session = client.agents.create_session(service.agent_id).id
        for number in range(ROUNDS):
            ask: Any = [ask_client, ask_langchain, ask_llamaindex][number % 3]
            message = f"message {number}"
            sent.append(message)
            # -1: at once, so that nobody knows whether the message has arrived.
            outcome = ask_and_kill(service, ask, client, session, message, after=chance.randrange(-1, 14))
            outcomes.append(outcome)
            if isinstance(outcome, str):
                assert outcome == answer_to(message)
                acknowledged[message] = outcome
            elif not isinstance(outcome, errors.NotSentError):
                assert isinstance(outcome, errors.TurnError)
                assert answer_to(message).startswith(outcome.partial_text)
                if outcome.signal_id is not None:
                    acknowledged[message] = None

            history = client.sessions.get_session_messages(session)
            asked = [m.message for m in history if m.role == "user"]
            assert len(asked) == len(set(asked)), "nothing was sent twice"
            assert set(acknowledged) <= set(asked) <= set(sent)
            answers = {q.message: a.message for q, a in pairwise(history) if a.role != "user"}
            for question, answer in acknowledged.items():
                if answer is not None:
                    assert answers[question] == answer
            for question, answer in answers.items():
                assert answer == answer_to(question), "an answer is whole or not there"

            # The interrupted turn is over, so the session goes on.
            again = f"again {number}"
            sent.append(again)
            assert client.sessions.send_chat_message(session, user_message=again).message == answer_to(again)
            acknowledged[again] = answer_to(again)
    assert len(outcomes) == ROUNDS
    assert any(isinstance(outcome, errors.AgentTurnError) for outcome in outcomes), "some were inside of their turn"
