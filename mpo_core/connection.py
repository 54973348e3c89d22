"""The connection to a model's endpoint: address, key, headers, proxy, TLS, and why it failed.

A key's value is in no message: what cannot be sent is named by its variable.
"""

import ipaddress
import os
import re
import ssl
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mpo_core.config import EndpointModelConfig
from mpo_core.errors import InputError

_OF_THE_API = re.compile(r"/(?:(?:chat/)?completions|models)\Z")
_LOGIN = re.compile(r"\A(\w+://)?.*@", re.DOTALL)
_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True)
class Address:
    """Where a model answers, and what is sent with every request. Can be sent to actors."""

    url: str
    query: dict[str, str]
    key: str
    headers: dict[str, str]

    @property
    def shown(self) -> str:
        """The URL without a login that may stand in it."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def __repr__(self) -> str:
        return f"Address({self.shown})"


def address_of(
    name: str, config: EndpointModelConfig, environment: Mapping[str, str] = os.environ
) -> Address:
    """The address of a model of the config, with its key.

    Raises:
        InputError: a key or header cannot be sent, or its variable is not set.
    """
    parts = urlsplit(config.endpoint.strip())
    # A query, such as Azure's ?api-version=, belongs behind every path.
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    path = _OF_THE_API.sub("", parts.path.rstrip("/"))
    key = environment.get(config.api_key_env, "").strip()
    require_sendable(f"models.{name}.api_key_env: the value of {config.api_key_env}", key)
    headers = {}
    for header, value in config.extra_headers.items():
        where = f"models.{name}.extra_headers.{header}"
        headers[header] = _with_variables(value, where, environment)
        require_sendable(f"{where}: its value", headers[header])
    if key and "api-version" in query:
        headers.setdefault("api-key", key)
    return Address(f"{parts.scheme}://{parts.netloc}{path}", query, key, headers)


@lru_cache(1)
def _trusted(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """The certificates that the environment's variables name, read once."""
    import httpx

    return httpx.create_ssl_context()


def trusted() -> ssl.SSLContext:
    """The authorities that are trusted: those of SSL_CERT_FILE or SSL_CERT_DIR, else the world's.

    Raises:
        InputError: they cannot be read.
    """
    try:
        return _trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    except (OSError, ssl.SSLError) as error:
        named = [v for v in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(v)]
        raise InputError(
            f"{' and '.join(named) or 'TLS'}: {os.environ.get(named[0], '') if named else ''}: no "
            f"certificates can be read there ({error})"
        ) from error


def http_client(address: Address, timeout_s: float) -> Any:
    """An HTTP client for the address, through the proxy that the environment names for it.

    Raises:
        InputError: the proxy or the certificates of the environment cannot be used.
    """
    import openai

    proxy, verify = proxy_of(address.url), trusted()
    try:
        # Without `trust_env`, which would also set up proxies for other addresses.
        return openai.DefaultAsyncHttpxClient(
            proxy=proxy.url if proxy else None, verify=verify, trust_env=False, timeout=timeout_s
        )
    except Exception as error:
        # The client brings an HTTP library of its own choice, with errors of its own.
        if not isinstance(error, ImportError | ValueError) and type(error).__name__ != "InvalidURL":
            raise
        raise unusable(proxy, address.url, error) from error


def without_login(url: str) -> str:
    """A URL as it may be shown, also where it is none."""
    return _LOGIN.sub(r"\1", url)


@dataclass(frozen=True)
class Proxy:
    variable: str
    url: str

    def __str__(self) -> str:
        return f"{self.variable}={without_login(self.url)}"


def unusable(proxy: Proxy | None, url: str, error: Exception) -> InputError:
    """That no client can be made which reaches a URL through the environment's proxy."""
    return InputError(
        f"{proxy}: cannot be used ({' '.join(str(error).split())}); unset it, or name "
        f"{urlsplit(url).hostname} in NO_PROXY if the endpoint is reached without it"
    )


def proxy_of(url: str) -> Proxy | None:
    """The proxy that the environment names for a URL."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    # Python has it on all systems, typeshed on none.
    named = urllib.request.proxy_bypass_environment(host)  # type: ignore[attr-defined]
    if named or _in_spared_network(host):
        return None
    for scheme in (parts.scheme, "all"):
        for variable in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            if value := os.environ.get(variable):
                return Proxy(variable, value if "://" in value else f"http://{value}")
    return None


def _in_spared_network(host: str) -> bool:
    """Whether a host is an address in one of the networks (`10.0.0.0/8`) that NO_PROXY names."""
    spared = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for network in spared.split(","):
        try:
            if "/" in network and address in ipaddress.ip_network(network.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


def cause_of(error: BaseException, url: str, timeout_s: float) -> tuple[str, bool]:
    """Why a request got no answer, in words, and whether another try may mend it."""
    where, proxy = urlsplit(url), proxy_of(url)
    host = f"{where.hostname}:{where.port or {'https': 443}.get(where.scheme, 80)}"
    chain = list(_chain(error))
    kinds = {kind.__name__ for link in chain for kind in type(link).__mro__}
    text = " ".join(" ".join(str(link).split()) for link in chain)
    other = "https" if where.scheme == "http" else "http"
    asked = f"{proxy}'s host" if proxy else where.hostname
    # The first that fits: what it is known by, its words, and whether waiting may mend it.
    known = (
        (
            "TimeoutException" in kinds,
            (f"no answer from {host} within {timeout_s:g} s; models.*.timeout_s gives it more"),
            True,
        ),
        (
            "CERTIFICATE_VERIFY_FAILED" in text,
            f"TLS: the certificate of {host} is not trusted; name the file of its authority in "
            "SSL_CERT_FILE",
            False,
        ),
        (
            "SSLError" in kinds or "[SSL" in text,
            f"TLS: {host} does not speak it; is it http:// in place of https://?",
            False,
        ),
        ("gaierror" in kinds, f"DNS: no such host as {asked}", True),
        (
            "ConnectionRefusedError" in kinds,
            f"connection refused: nothing listens at {proxy or host}",
            True,
        ),
        (
            "DecodingError" in kinds,
            f"the answer of {host} is not encoded as it says ({chain[-1]})",
            True,
        ),
        ("TooManyRedirects" in kinds, f"{host} redirects again and again", False),
        ("ProxyError" in kinds, f"the proxy refuses: {chain[-1]}", True),
        ("LocalProtocolError" in kinds, f"the request cannot be sent: {chain[-1]}", False),
        (
            bool(kinds & {"RemoteProtocolError", "ReadError"}),
            f"{host} closed the connection before its answer was whole; is it {other}:// in place "
            f"of {where.scheme}://?",
            True,
        ),
        (True, text[-200:] or type(error).__name__, True),
    )
    words, mendable = next((words, may) for holds, words, may in known if holds)
    if proxy:
        words += (
            f" (through the proxy {proxy}; where {where.hostname} is reached without one, name it "
            "in NO_PROXY)"
        )
    return words, mendable


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it comes from, the outermost first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _with_variables(value: str, where: str, environment: Mapping[str, str]) -> str:
    """A header's value with the environment's variables in place of `$NAME` and `${NAME}`."""

    def variable(match: re.Match) -> str:
        name = match[1] or match[2]
        if name not in environment:
            raise InputError(f"{where}: the environment variable {name} is not set")
        return environment[name].strip()

    return _VARIABLE.sub(variable, value)


def require_sendable(what: str, value: str) -> None:
    """Raises InputError, without the value, where it cannot be that of a header."""
    if not value.isascii() or not value.isprintable():
        raise InputError(
            f"{what} cannot be sent in an HTTP header: it holds a line break, a control character "
            "or one beyond ASCII; set it anew"
        )
