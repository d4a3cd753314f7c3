"""Which tenant a request belongs to: the one whose key it brings."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers

from meibel_integrations.local.http.refusals import refuse


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """Where a service's clients put their key: a header, perhaps behind the name of a scheme."""

    name: str
    scheme: str = ""

    def read(self, headers: Headers) -> str:
        """The key; ``""``: there is none."""
        value = headers.get(self.name, "")
        if not self.scheme:
            return value
        scheme, _, key = value.partition(" ")
        return key.strip() if scheme.lower() == self.scheme.lower() else ""

    def __str__(self) -> str:
        return f"{self.name}: {self.scheme}" if self.scheme else self.name


MEIBEL_KEY = KeyHeader("Meibel-API-Key")
LLAMA_CLOUD_KEY = KeyHeader("Authorization", "Bearer")


class Keys:
    """The keys of a service, by tenant. Both of its APIs take the same ones."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = [(tenant, key.encode()) for tenant, key in keys.items()]

    def tenant(self, headers: Headers, header: KeyHeader = MEIBEL_KEY) -> str:
        """The tenant whose key the request brings in ``header``.

        Raises:
            Refusal: 401, the key is missing or wrong.
        """
        given = header.read(headers)
        if not given:
            raise refuse(401, "unauthorized", f"the header {header} is missing")
        found = self.find(given)
        if found is None:
            raise refuse(401, "unauthorized", f"the key in {header} is not one of this service's")
        return found

    def find(self, given: str) -> str | None:
        """Compares with every key in constant time, so that neither a prefix nor a position can be measured."""
        candidate = given.encode("utf-8", "surrogateescape")
        found = None
        for tenant, key in self._keys:
            if hmac.compare_digest(candidate, key):
                found = tenant
        return found
