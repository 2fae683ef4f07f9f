"""A chat model behind an OpenAI-compatible endpoint, such as `mlx_lm.server`. Standard library only."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

MAX_BYTES = 1 << 20  # of a reply
SAID_BYTES = 300  # of a refusal, that are quoted
KEY_VARIABLE = "JUDGE_API_KEY"
_PASSING = frozenset({408, 425, 429})  # and every 5xx: worth another try
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class EndpointError(Exception):
    """No usable reply. `passing`: another attempt may succeed; `status`: the HTTP status, if there was one."""

    def __init__(self, message: str, *, passing: bool, status: int | None = None) -> None:
        super().__init__(message)
        self.passing, self.status = passing, status


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, and the key would go somewhere else."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class _Lines:
    """The connections that are open, so that another thread can hang up."""

    def __init__(self) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def kind(self, base: type[http.client.HTTPConnection]) -> type[http.client.HTTPConnection]:
        """Return a kind of connection that is on the list from when it is made until it is closed."""
        lines = self

        class Listed(base):  # type: ignore[misc, valid-type]
            def connect(self) -> None:
                super().connect()
                self.listed = self.sock
                with lines._lock:
                    lines._open.add(self.listed)

        return Listed

    def hang_up(self) -> None:
        """Shut down what is open: whoever waits for a reply there fails at once, and the server sees it."""
        with self._lock:
            sockets, self._open = self._open, set()
        for one in sockets:
            with contextlib.suppress(OSError):  # closed already
                one.shutdown(socket.SHUT_RDWR)

    def forget_closed(self) -> None:
        """Drop the connections that are closed."""
        with self._lock:
            self._open = {one for one in self._open if one.fileno() >= 0}


class _Http(urllib.request.HTTPHandler):
    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self.kind: Any = lines.kind(http.client.HTTPConnection)

    def http_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self.kind, request)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, lines: _Lines) -> None:
        super().__init__()
        self.kind: Any = lines.kind(http.client.HTTPSConnection)

    def https_open(self, request: urllib.request.Request) -> Any:
        return self.do_open(self.kind, request)


@dataclass(frozen=True)
class Endpoint:
    """`ask` posts messages to URL/chat/completions and returns the text of the reply.

    The environment variable JUDGE_API_KEY (or `key_variable`), if set, is sent as the bearer token. Any number of
    threads may ask; `hang_up` cancels all requests that are under way.
    """

    url: str
    model: str
    max_tokens: int
    temperature: float
    extra: Mapping[str, Any] = field(default_factory=dict)  # further keys of the request
    key_variable: str = KEY_VARIABLE
    _lines: _Lines = field(default_factory=_Lines, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"judge.url must look like http://127.0.0.1:8080/v1, got {self.url!r}")

    def ask(self, messages: Sequence[Mapping[str, str]], seconds: float) -> str:
        """The reply's text. EndpointError if there is none within the time."""
        return _text(self.post(messages, seconds), self.url)

    def post(self, messages: Sequence[Mapping[str, str]], seconds: float, **more: Any) -> bytes:
        """The reply's body; `more` are keys of this request alone. EndpointError if there is none within the time."""
        body = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            **self.extra,
            **more,
        }
        return self.send("/chat/completions", body, seconds)

    def send(self, path: str, body: Mapping[str, Any], seconds: float, *, max_bytes: int = MAX_BYTES) -> bytes:
        """Post a JSON object to URL/path and return the reply's body, of at most `max_bytes`.

        EndpointError if there is none within the time; it quotes what the server says of a refusal.
        """
        end = time.monotonic() + seconds
        self._lines.forget_closed()
        try:
            with self._opener().open(self._request(path, body), timeout=max(seconds, 0.001)) as response:
                return _read(response, end, max_bytes)
        except urllib.error.HTTPError as error:
            said, passing = _said(error), error.code in _PASSING or error.code >= 500
            raise EndpointError(
                f"{self.url} answers {error.code} {error.reason}{said}", passing=passing, status=error.code
            ) from None
        except (OSError, http.client.HTTPException) as error:  # refused, timed out, reset, cut off
            reason = getattr(error, "reason", None) or error
            raise EndpointError(f"{self.url}: {type(error).__name__}: {reason}", passing=True) from None

    def hang_up(self) -> None:
        """Cancel every request that is under way: it ends with an EndpointError, and the server can stop its work."""
        self._lines.hang_up()

    def _opener(self) -> urllib.request.OpenerDirector:
        handlers: list[Any] = [_NoRedirect(), _Http(self._lines), _Https(self._lines)]
        if urlsplit(self.url).hostname in _LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        return urllib.request.build_opener(*handlers)

    def _request(self, path: str, body: Mapping[str, Any]) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        url = self.url.rstrip("/") + path
        return urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")


def _said(error: urllib.error.HTTPError) -> str:
    """Return the beginning of a refusal's body, as one line."""
    with error:
        try:
            text = " ".join(error.read(SAID_BYTES).decode(errors="replace").split())
        except (OSError, http.client.HTTPException):
            return ""
    return f": {text}" if text else ""


def _read(response: http.client.HTTPResponse, end: float, max_bytes: int) -> bytes:
    """The body; a socket's own timeout is per packet, so that a slow drip would never end."""
    parts, size = [], 0
    while part := response.read1(65536):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise EndpointError(f"a reply of more than {max_bytes} bytes", passing=False)
        if time.monotonic() > end:
            raise TimeoutError("the reply was too slow")
    return b"".join(parts)


def _text(raw: bytes, url: str) -> str:
    try:
        content = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise EndpointError(f"{url} answers with no chat completion: {raw[:80]!r}", passing=True) from None
    if not isinstance(content, str):
        raise EndpointError(f"{url} answers with no text, perhaps cut while reasoning: raise max_tokens", passing=True)
    return content
