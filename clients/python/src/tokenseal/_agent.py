"""A client of ``tokenseal-agent``: HTTP and JSON over the agent's Unix socket, or over loopback with a token."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from . import _agent_answers as answers
from . import _agent_values as values
from ._agent_connection import AgentConnection
from ._errors import AgentError, ConfigurationError, Malformed, Refused

DEFAULT_SOCKET = "/run/tokenseal/agent.sock"

Json = dict[str, Any]

_MAX_ANSWER = 64 << 20
# Seconds that `fresh` may take at least: the agent waits up to 60 s for another caller's refresh.
_REFRESH_WITHIN = 75.0
_MAX_TIMEOUT = 86_400


class AgentClient:
    """One connection to the agent, kept open between calls. Not for use from several threads at once."""

    def __init__(
        self, socket: str | os.PathLike[str] = DEFAULT_SOCKET, *, token: str | None = None, timeout: float = 30.0
    ) -> None:
        """``socket``: a path, ``unix:/path``, or ``127.0.0.1:PORT``, which needs a ``token``. ``timeout``: seconds."""
        address = os.fspath(socket).removeprefix("unix:") if isinstance(socket, str | os.PathLike) else ""
        if not address or "\0" in address:
            raise ConfigurationError("the agent's socket is not a path")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= _MAX_TIMEOUT:
            raise ConfigurationError(f"timeout must be above 0 and at most {_MAX_TIMEOUT} seconds")
        self._timeout = float(timeout)
        self._headers = {"X-Tokenseal": "1", "Content-Type": "application/json"}
        if address.startswith(("/", "./", "@")) or not re.fullmatch(r"[^/]+:[0-9]{1,5}", address):
            self._connection = AgentConnection(path=address)
        else:
            host, _, port = address.rpartition(":")
            if not 1 <= int(port) <= 65_535:
                raise ConfigurationError("the agent's address has a port that does not exist")
            if host.strip("[]") not in ("127.0.0.1", "::1", "localhost"):
                raise ConfigurationError("the agent is reached over a Unix socket or a loopback address alone")
            if token is None:
                raise ConfigurationError("the agent needs a token over TCP")
            self._connection = AgentConnection(host.strip("[]"), int(port))
        if token is not None:
            if not isinstance(token, str) or not re.fullmatch(r"[!-~]{1,4096}", token):
                raise ConfigurationError("the agent's token has characters that no header can carry")
            self._headers["Authorization"] = f"Bearer {token}"

    def get(self, row: Mapping[str, object], *, table: str | None = None, columns: Iterable[str] | None = None) -> Json:
        """Reads a row: ``tokens``, ``plain``, the version columns and ``revision``."""
        if isinstance(columns, str):
            raise Refused("columns must be a list of names, not one text")
        body = _body(row=_row(row), table=table, columns=None if columns is None else list(columns))
        return answers.row(self._call("/v1/tokens/get", body))

    def put(
        self,
        row: Mapping[str, object],
        tokens: Mapping[str, str | None],
        *,
        table: str | None = None,
        plain: Mapping[str, object] | None = None,
        if_revision: str | None = None,
        lease: str | None = None,
    ) -> Json:
        """Writes tokens into a row; with ``if_revision`` only while the row is unchanged (status 409 otherwise)."""
        written = {"row": _row(row), "tokens": values.tokens(tokens)}
        sent = None if plain is None else values.plain(plain)
        conditions = {"if_revision": _opaque("if_revision", if_revision), "lease": _opaque("lease", lease)}
        optional = _body(table=table, plain=sent, **conditions)
        answer = self._call("/v1/tokens/put", {**written, **optional}, idempotent=False)
        return answers.texts(answer, "written", "revision")

    def delete(self, row: Mapping[str, object], *, table: str | None = None, if_revision: str | None = None) -> Json:
        """Deletes a row."""
        body = _body(row=_row(row), table=table, if_revision=_opaque("if_revision", if_revision))
        return answers.saying(self._call("/v1/tokens/delete", body, idempotent=False), "deleted", (True,))

    def fresh(self, row: Mapping[str, object], *, valid_for: int, table: str | None = None) -> Json:
        """Reads a row whose access token is valid for so many seconds; the agent refreshes it where it must."""
        body = _body(row=_row(row), table=table, valid_for=valid_for)
        return answers.row(self._call("/v1/tokens/fresh", body, idempotent=False, within=_REFRESH_WITHIN))

    def find(self, column: str, value: str, *, table: str | None = None) -> list[dict[str, str]]:
        """Finds the rows whose token has this value, by the blind index over its column; returns their keys."""
        sought = values.text(value, "the value")
        rows = self._call("/v1/tokens/find", _body(column=column, value=sought, table=table)).get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise answers.not_an_answer()
        return rows

    def lease(self, row: Mapping[str, object], *, seconds: int, table: str | None = None) -> Json:
        """Takes the right to refresh a row's token for so many seconds (status 423 while another has it)."""
        body = _body(row=_row(row), table=table, seconds=seconds)
        return answers.texts(self._call("/v1/tokens/lease", body, idempotent=False), "lease", "expires")

    def release(self, row: Mapping[str, object], *, lease: str, table: str | None = None) -> Json:
        """Gives a lease back."""
        if lease is None:
            raise Refused("lease is not given")
        body = _body(row=_row(row), table=table, lease=_opaque("lease", lease))
        return answers.saying(self._call("/v1/tokens/release", body, idempotent=False), "released", (True, False))

    def open(
        self,
        text: str,
        *,
        table: str,
        column: str,
        row: Mapping[str, object],
        owner: Mapping[str, object] | None = None,
        version: int | str | None = None,
    ) -> str:
        """Opens one stored text. ``version`` is what ``encryption_version`` says; an envelope is known without it."""
        item = {"text": text, "table": table, "column": column, "row": row, "owner": owner, "version": version}
        return answers.text(self._batch("/v1/open", [values.item(item, "text")])[0], "value")

    def seal(
        self,
        value: str,
        *,
        table: str,
        column: str,
        row: Mapping[str, object],
        owner: Mapping[str, object] | None = None,
    ) -> Json:
        """Seals one value.

        The answer has ``text``, ``encryption_version``, ``encryption_method`` and ``encryption_key_id``. The agent may
        be configured to write another form than an envelope: all four belong into the row in one statement.
        """
        item = {"value": value, "table": table, "column": column, "row": row, "owner": owner}
        sealed = self._batch("/v1/seal", [values.item(item, "value")])[0]
        answers.text(sealed, "text")
        return sealed

    def open_many(self, items: Iterable[Mapping[str, object]]) -> list[Json]:
        """Opens a batch, in order; an item that does not open has ``error`` and spoils no other."""
        return self._each("/v1/open", items, "text")

    def seal_many(self, items: Iterable[Mapping[str, object]]) -> list[Json]:
        """Seals a batch, in order; an item that is not sealed has ``error`` and spoils no other."""
        return self._each("/v1/seal", items, "value")

    def secret(self, name: str, *, stage: str | None = None) -> str:
        """Reads a secret's value."""
        return answers.text(self._call("/v1/secrets/get", _body(name=name, stage=stage)), "value")

    def close(self) -> None:
        """Closes the connection; the next call opens another."""
        self._connection.close()

    def __enter__(self) -> AgentClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _each(self, path: str, items: Iterable[Mapping[str, object]], content: str) -> list[Json]:
        """A batch in which an item that cannot be sent is its own error, too."""
        sent: list[Json] = []
        refusals: dict[int, Json] = {}
        for at, given in enumerate(items):
            try:
                sent.append(values.item(given, content))
            except (Refused, Malformed) as refusal:
                refusals[at] = {"error": {"class": "malformed", "message": str(refusal), "status": 400}}
        answered = iter(self._batch(path, sent) if sent or not refusals else [])
        return [refusals[at] if at in refusals else next(answered) for at in range(len(sent) + len(refusals))]

    def _batch(self, path: str, sent: list[Json]) -> list[Json]:
        answer = self._call(path, {"items": sent}).get("items")
        if not isinstance(answer, list) or len(answer) != len(sent) or not all(isinstance(i, dict) for i in answer):
            raise answers.not_an_answer()
        return [answers.item(item, is_sealed=path == "/v1/seal") for item in answer]

    def _call(self, path: str, body: Json, *, idempotent: bool = True, within: float = 0.0) -> Json:
        payload = values.payload(body)
        self._connection.begin(time.monotonic() + max(within, self._timeout))
        failure = ""
        # The agent closes connections that were idle: a read that met one is sent once more, a write is not.
        for may_repeat in (self._connection.is_reused and idempotent, False):
            try:
                return self._exchange(path, payload)
            except (http.client.HTTPException, OSError) as error:
                self._connection.close()
                is_lost = isinstance(error, OSError) and not isinstance(error, TimeoutError)
                failure = "the agent cannot be reached" if is_lost else "the agent's answer broke off, or took too long"
                if not (may_repeat and isinstance(error, ConnectionError)):
                    break
        raise AgentError(0, "unavailable", failure)

    def _exchange(self, path: str, payload: bytes) -> Json:
        self._connection.request("POST", path, body=payload, headers=self._headers)
        response = self._connection.getresponse()
        data = response.read(_MAX_ANSWER)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        self._connection.rest()
        try:
            answer = json.loads(data)
        except (ValueError, RecursionError):
            answer = None
        if response.status != 200:
            details = answer if isinstance(answer, dict) else {}
            raise answers.error(response.status, details, response.getheader("Retry-After"))
        if not isinstance(answer, dict):
            raise answers.not_an_answer()
        return answer


def _row(row: object) -> Json:
    return values.keys("row", row)


def _opaque(what: str, given: object) -> str | None:
    """A revision or a lease. An empty one is none that the agent gave, and must not make a write unconditional."""
    if given is None:
        return None
    if given == "":
        raise Refused(f"{what} is empty: leave it out for a write without it")
    return values.text(given, what)


def _body(**fields: object) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
