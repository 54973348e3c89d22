"""Who may use the proxy, by which key; and what it says to others, in OpenAI's form of an error."""

import hmac
import os
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Scope

from mpo_core.config import ProxyConfig, is_loopback
from mpo_core.connection import require_sendable
from mpo_core.errors import InputError

KEY_HEADER = b"x-mpo-key"
BEARER = b"bearer "


def keys_of(config: ProxyConfig) -> tuple[str, str]:
    """The key that callers send and that of the upstream, from the environment; empty for none.

    Raises:
        InputError: a key that is needed is missing, or cannot be sent.
    """
    key = os.environ.get(config.key_env, "").strip()
    if not key and not is_loopback(config.host):
        raise InputError(
            f"proxy.host {config.host}: whoever reaches it could use the upstream; put a key into "
            f"the environment variable {config.key_env}, which callers then send as "
            "Authorization: Bearer KEY"
        )
    upstream_key = ""
    if config.upstream_key_env:
        upstream_key = os.environ.get(config.upstream_key_env, "").strip()
        if not upstream_key:
            raise InputError(
                f"proxy.upstream_key_env: {config.upstream_key_env} is not set in the environment"
            )
    for name, value in ((config.key_env, key), (config.upstream_key_env, upstream_key)):
        require_sendable(f"{name}: its value", value)
    return key, upstream_key


def refusal(message: str, status: int, code: str | None = None, **more: Any) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": None, "code": code}
    return JSONResponse({"error": error, **more}, status)


class Access:
    """The key that callers must send; every caller may where there is none."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def refused(self, scope: Scope) -> JSONResponse | None:
        """What a request is refused with, unless it may go on."""
        headers = scope["headers"]
        if not self._key:
            # A page of anyone's can make a browser send requests to this machine.
            if any(name == b"origin" for name, _ in headers):
                said = "requests of web pages are answered only where a key is asked for"
                return refusal(said, 403, "origin_not_allowed")
            return None
        if any(self._is_key(value) for name, value in headers if name == KEY_HEADER):
            return None
        if any(self.is_bearer(value) for name, value in headers if name == b"authorization"):
            return None
        said = "the proxy's key is missing or wrong; send Authorization: Bearer KEY or X-MPO-Key"
        answer = refusal(said, 401, "invalid_api_key")
        answer.headers["www-authenticate"] = "Bearer"
        return answer

    def is_bearer(self, value: bytes) -> bool:
        """Whether an `Authorization` holds the proxy's key, which no upstream is to see."""
        bearer = value[: len(BEARER)].lower() == BEARER
        return bool(self._key) and bearer and self._is_key(value[len(BEARER) :])

    def _is_key(self, value: bytes) -> bool:
        return hmac.compare_digest(value.strip(), self._key)
