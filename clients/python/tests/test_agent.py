"""The agent's client sends what the agent's contract says, and turns its answers into values or errors."""

from __future__ import annotations

import http.server
import json
import select
import socketserver
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import CANARY

from tokenseal import AgentClient, AgentError, ConfigurationError

ROW = {"provider": "twitch", "channel": "me"}
CELL: dict[str, Any] = {"table": "oauth_tokens", "column": "access_token", "row": ROW}


class Stub(socketserver.ThreadingUnixStreamServer):
    """Answers one status and body to everything, and keeps what it was sent."""

    daemon_threads = True
    status = 200
    answer: object = {}
    closes_idle = False
    latency = 0.0
    headers: dict[str, str]
    requests: list[tuple[str, dict[str, str], Any]]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, dict(self.headers), body))
        time.sleep(self.server.latency)
        payload = (
            self.server.answer if isinstance(self.server.answer, bytes) else json.dumps(self.server.answer).encode()
        )
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(payload)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)
        self.close_connection = self.close_connection or self.server.closes_idle


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    server = Stub(str(tmp_path / "agent.sock"), Handler)
    server.headers, server.requests = {}, []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def client(stub: Stub, **options: Any) -> AgentClient:
    return AgentClient(f"unix:{stub.server_address!s}", **options)


CALLS = [
    (lambda c: c.get(ROW, columns=["a"]), "/v1/tokens/get", {"row": ROW, "columns": ["a"]}),
    (
        lambda c: c.put(ROW, {"a": "x", "b": None}, table="t", if_revision="r"),
        "/v1/tokens/put",
        {"row": ROW, "tokens": {"a": "x", "b": None}, "table": "t", "if_revision": "r"},
    ),
    (lambda c: c.delete(ROW), "/v1/tokens/delete", {"row": ROW}),
    (lambda c: c.fresh(ROW, valid_for=60), "/v1/tokens/fresh", {"row": ROW, "valid_for": 60}),
    (lambda c: c.lease(ROW, seconds=5), "/v1/tokens/lease", {"row": ROW, "seconds": 5}),
    (lambda c: c.release(ROW, lease="l"), "/v1/tokens/release", {"row": ROW, "lease": "l"}),
]


@pytest.mark.parametrize(("call", "path", "body"), CALLS)
def test_each_call_has_its_route_its_body_and_the_header(stub: Stub, call: Any, path: str, body: Any) -> None:
    stub.answer = {"deleted": True}
    assert call(client(stub)) == {"deleted": True}
    sent_path, headers, sent = stub.requests[0]
    assert (sent_path, sent, headers["X-Tokenseal"]) == (path, body, "1")


def test_rows_are_found_by_a_value(stub: Stub) -> None:
    stub.answer = {"rows": [{"id": "7"}]}
    assert client(stub).find("email", "ada@example.org", table="users") == [{"id": "7"}]
    assert stub.requests[0][0] == "/v1/tokens/find"
    assert stub.requests[0][2] == {"column": "email", "value": "ada@example.org", "table": "users"}
    stub.answer = {"rows": CANARY}
    with pytest.raises(AgentError) as failed:
        client(stub).find("email", "x")
    assert CANARY not in str(failed.value)


def test_a_refresh_is_waited_for_longer_than_other_calls(stub: Stub) -> None:
    agent = client(stub, timeout=0.2)
    stub.latency, stub.answer = 0.4, {"tokens": {}}
    assert agent.fresh(ROW, valid_for=60) == {"tokens": {}}
    with pytest.raises(AgentError) as failed:
        agent.get(ROW)
    assert failed.value.status == 0


def test_one_bad_item_spoils_no_other(stub: Stub) -> None:
    stub.answer = {"items": [{"value": "x"}, {"error": {"class": "context_mismatch_or_corrupt", "message": "no"}}]}
    items = client(stub).open_many([{"text": "a"}, {"text": "b"}])
    assert items[0] == {"value": "x"}
    assert stub.requests[0][2] == {"items": [{"text": "a"}, {"text": "b"}]}
    stub.answer = {"items": [items[1]]}
    with pytest.raises(AgentError) as failed:
        client(stub).open("kms:v2:a", **CELL, version=2)
    assert (failed.value.status, failed.value.error_class) == (422, "context_mismatch_or_corrupt")
    stub.answer = {"items": [{"text": "kms:v2:…", "encryption_key_id": "arn"}]}
    assert client(stub).seal("x", **CELL)["encryption_key_id"] == "arn"
    assert stub.requests[-1][2] == {"items": [{"value": "x", **CELL}]}
    with pytest.raises(AgentError):
        client(stub).open_many([])


def test_a_secret_is_read_with_the_token_in_the_header(stub: Stub) -> None:
    stub.answer = {"value": "s", "version": "1", "from": "cache"}
    assert client(stub, token="t" * 40).secret("db#password", stage="AWSPREVIOUS") == "s"
    assert stub.requests[0][1]["Authorization"] == "Bearer " + "t" * 40
    assert stub.requests[0][2] == {"name": "db#password", "stage": "AWSPREVIOUS"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 423, 429, 503])
def test_each_error_keeps_its_status_class_and_hint(stub: Stub, status: int) -> None:
    stub.status, stub.headers = status, {"Retry-After": "7"}
    stub.answer = {"error": {"class": "c", "message": "m", "hint": "h", "correlation_id": "i"}, "needs_consent": True}
    with pytest.raises(AgentError) as failed:
        client(stub).get(ROW)
    error = failed.value
    assert (error.status, error.error_class, error.hint, error.correlation_id) == (status, "c", "h", "i")
    assert (error.retry_after, error.needs_consent) == (7.0, True)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{", b'{"items": 1}', CANARY.encode()])
def test_an_answer_that_is_none_of_the_agent_is_an_error_without_its_text(stub: Stub, answer: bytes) -> None:
    stub.answer = answer
    with pytest.raises(AgentError) as failed:
        client(stub).open("x", **CELL)
    assert CANARY not in str(failed.value)


def test_a_closed_connection_is_opened_again_for_reads(stub: Stub) -> None:
    stub.headers = {"Connection": "close"}
    with client(stub) as agent:
        for _ in range(3):
            agent.get(ROW)
    assert len(stub.requests) == 3


def test_a_write_after_the_agent_closed_an_idle_connection_takes_another(stub: Stub) -> None:
    stub.closes_idle = True
    with client(stub) as agent:
        for _ in range(3):
            agent.put(ROW, {"a": "x"})
            select.select([agent._connection.sock], [], [], 10)  # until the agent has closed it
    assert len(stub.requests) == 3


def test_an_agent_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as failed:
        AgentClient(str(tmp_path / "none.sock")).get(ROW)
    assert failed.value.status == 0


@pytest.mark.parametrize("options", [{"socket": "10.0.0.1:80", "token": "t"}, {"socket": "127.0.0.1:80"}], ids=str)
def test_another_host_and_a_missing_token_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        AgentClient(**options)
    with pytest.raises(ConfigurationError):
        AgentClient("/tmp/x.sock", token="line\nbreak")
