"""Which tenant a request belongs to: the one whose key it brings."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from starlette.datastructures import Headers

from meibel_integrations.local.refusals import refuse

KEY_HEADER = "Meibel-API-Key"


class Keys:
    """The keys of a service, by tenant."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = [(tenant, key.encode()) for tenant, key in keys.items()]

    def tenant(self, headers: Headers) -> str:
        """The tenant of the request's ``Meibel-API-Key``.

        Raises:
            Refusal: 401, the key is missing or wrong.
        """
        given = headers.get(KEY_HEADER)
        if not given:
            raise refuse(401, "unauthorized", f"the header {KEY_HEADER} is missing")
        found = self.find(given)
        if found is None:
            raise refuse(401, "unauthorized", f"the key in {KEY_HEADER} is not one of this service's")
        return found

    def find(self, given: str) -> str | None:
        """Compares with every key in constant time, so that neither a prefix nor a position can be measured."""
        candidate = given.encode("utf-8", "surrogateescape")
        found = None
        for tenant, key in self._keys:
            if hmac.compare_digest(candidate, key):
                found = tenant
        return found
