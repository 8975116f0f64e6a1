"""An OpenAI-compatible endpoint: one POST, patient where it is busy, and careful with the key."""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import json
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from treatystance.errors import InputError, TreatystanceError

__all__ = ["DEFAULT_URL", "Endpoint", "RejectedError"]

DEFAULT_URL = "https://api.openai.com/v1"
_MOST_BYTES = 8 << 20
_TRANSIENT = frozenset({408, 425, 429})


class RejectedError(TreatystanceError):
    """A request that the endpoint read and refused; `content` is what it said, in full."""

    def __init__(self, message: str, content: str) -> None:
        super().__init__(message)
        self.content = content


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None  # urllib then reports the redirect as an error


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where chat completions are had, and how patiently. The key goes to this address only and into no message.

    Args:
        url: base URL, such as https://api.openai.com/v1; http only for this machine, or where there is no key.
        key: the API key, if any.
        timeout: seconds without an answer before a request counts as failed.
        attempts: how often a request is sent at most where the endpoint is busy, broken or silent.
        pause: seconds before the second attempt, doubled before each later one, unless the endpoint says how long.
        longest_pause: seconds; an endpoint that asks to wait longer is given up.

    Raises:
        InputError: the URL cannot be used, or a key is missing or would be sent in the clear.
    """

    url: str = DEFAULT_URL
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    attempts: int = 5
    pause: float = 1.0
    longest_pause: float = 300.0

    def __post_init__(self) -> None:
        if not (self.url.isascii() and self.url.isprintable()) or " " in self.url or "@" in self.url:
            # Not shown: it may hold a password.
            raise InputError("OPENAI_BASE_URL must be a plain URL without a name or password, such as " + DEFAULT_URL)
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment:
            raise InputError(f"OPENAI_BASE_URL must be a base URL such as {DEFAULT_URL}, not {self.url.split('?')[0]}")
        if self.key and not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise InputError("OPENAI_API_KEY holds a character that no key has; set it again")
        if self.key and parts.scheme == "http" and not self._local:
            raise InputError(f"{self.url}: an API key is sent over https only; use https, or unset OPENAI_API_KEY")
        if not self.key and parts.hostname == urlsplit(DEFAULT_URL).hostname:
            raise InputError(f"{self.url} needs an API key: set OPENAI_API_KEY, or OPENAI_BASE_URL to your own server")

    @classmethod
    def from_environment(cls) -> Endpoint:
        """The endpoint of OPENAI_BASE_URL (OpenAI's own by default) with the key of OPENAI_API_KEY.

        Raises:
            InputError: the URL cannot be used, or a key is missing or would be sent in the clear.
        """
        url = os.environ.get("OPENAI_BASE_URL", "").strip() or DEFAULT_URL
        return cls(url, os.environ.get("OPENAI_API_KEY", "").strip() or None)

    @property
    def _local(self) -> bool:
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def post(self, body: Mapping[str, Any], stop: threading.Event | None = None) -> bytes:
        """What POST /chat/completions answers to `body`.

        Args:
            body: the request, to be sent as JSON.
            stop: ends the waiting between attempts when set.

        Raises:
            TreatystanceError: the endpoint cannot be reached, refuses, redirects elsewhere, or stays busy.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "treatystance"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        address = f"{self.url.rstrip('/')}/chat/completions"
        request = Request(address, json.dumps(body).encode(), headers)  # noqa: S310 - http or https
        # No proxy between this machine and itself: it would see the key.
        opener = build_opener(_NoRedirect, *([ProxyHandler({})] if self._local else []))
        stop, pause = stop or threading.Event(), self.pause
        for attempt in range(1, self.attempts + 1):
            wanted: float | None = None
            try:
                with opener.open(request, timeout=self.timeout) as response:
                    return bytes(response.read(_MOST_BYTES))
            except HTTPError as error:
                problem, wanted = self._refusal(error), _retry_after(error)
            except (OSError, http.client.HTTPException) as error:
                problem = self._silence(error)
            if wanted is not None and wanted > self.longest_pause:
                raise self.error(f"{problem}, and asks to wait {wanted:.0f} seconds; try again later")
            if attempt == self.attempts or stop.wait(pause if wanted is None else wanted):
                break
            pause = min(2 * pause, self.longest_pause)
        raise self.error(f"{problem}, {attempt} times")

    def _refusal(self, error: HTTPError) -> str:
        """What a status that may pass says; any other is raised."""
        with error:
            try:
                content = error.read(_MOST_BYTES).decode("utf-8", "replace")
            except (OSError, http.client.HTTPException):
                content = ""
        if error.code in (401, 403):  # such answers may quote the key
            reason = "refuses OPENAI_API_KEY" if self.key else "wants a key; set OPENAI_API_KEY"
            raise self.error(f"{reason} (HTTP {error.code})")
        if error.code < 400:
            raise self.error(f"redirects elsewhere (HTTP {error.code}), which is not followed; give the last address")
        said = _said(content)
        problem = f"answers HTTP {error.code}" + (f" ({self._plain(said)})" if said else "")
        if (error.code in _TRANSIENT or error.code >= 500) and "insufficient_quota" not in content:
            return problem
        raise RejectedError(f"{self.url}: {problem}", content)

    def _silence(self, error: Exception) -> str:
        """What a failure that may pass says; any other is raised."""
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, TimeoutError):
            return f"gave no answer in {self.timeout:g} seconds"
        if isinstance(cause, ConnectionResetError | BrokenPipeError | http.client.HTTPException):
            return "broke the connection"
        raise self.error(f"cannot be reached ({getattr(cause, 'strerror', None) or cause})") from None

    def error(self, problem: str) -> TreatystanceError:
        """The error that tells of a problem at this endpoint: one printable line, without the key."""
        return TreatystanceError(f"{self.url}: {self._plain(problem)}")

    def _plain(self, text: str) -> str:
        """One printable line without the key."""
        line = " ".join((text.replace(self.key, "***") if self.key else text).split())
        return "".join(c for c in line if c.isprintable())[:300]


def _said(content: str) -> str:
    try:
        answer = json.loads(content)
        said = answer["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""


def _retry_after(error: HTTPError) -> float | None:
    """Seconds that the header Retry-After asks to wait: a number or a date; None where there is none to be read."""
    value = str(error.headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d*)?", value):
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
