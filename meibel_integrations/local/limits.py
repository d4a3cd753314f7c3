"""What the service accepts from outside: sizes and numbers."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of the service.

    Attributes:
        max_message_chars: of a ``user_message``.
        max_body_bytes: of a request's body without files.
        max_file_bytes: of one uploaded file.
        max_files: uploaded in one message.
        max_answer_chars: an answerer that says more has failed.
        max_running_turns: in the whole service; more are refused with 429.
        max_sessions: per tenant; more are refused with 429.
        max_prompt_chars: of a LlamaCloud ``prompt``.
        max_indexes: of a LlamaCloud session or message.
        max_connections: open at one time, as far as the process may open so many files. The connection that has
            waited longest without a request makes room for a new one.
        head_seconds: from opening a connection, or a request's first byte, to the end of its head.
        idle_seconds: without a byte, while a request's body is read or a client takes none of its answer.
    """

    max_message_chars: int = 200_000
    max_body_bytes: int = 4 * MIB
    max_file_bytes: int = 20 * MIB
    max_files: int = 10
    max_answer_chars: int = 4_000_000
    max_running_turns: int = 1_000
    max_sessions: int = 100_000
    max_prompt_chars: int = 1_000
    max_indexes: int = 10
    max_connections: int = 2_000
    head_seconds: float = 15.0
    idle_seconds: float = 120.0

    def body_limit(self, content_type: str) -> int:
        if content_type.lower().startswith("multipart/form-data"):
            return self.max_body_bytes + self.max_files * self.max_file_bytes
        return self.max_body_bytes
