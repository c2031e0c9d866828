"""The agent's client sends requests as in the agent's contract, and turns its answers into values or errors."""

from __future__ import annotations

import datetime
import decimal
import enum
import http.server
import json
import select
import socket
import socketserver
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import CANARY

from tokenseal import AgentClient, AgentError, ConfigurationError, FromDatabase, Malformed, Refused, TokensealError

# Every member that some route requires.
ANSWER: dict[str, Any] = {
    "tokens": {},
    "plain": {},
    "revision": "r1",
    "written": "kms-envelope",
    "deleted": True,
    "lease": "l1",
    "expires": "2026-11-29T00:00:00Z",
    "released": False,
}
ROW = {"provider": "twitch", "channel": "me"}
CELL: dict[str, Any] = {"table": "oauth_tokens", "column": "access_token", "row": ROW}


class Stub(socketserver.ThreadingUnixStreamServer):
    """Answers one status and body to everything, and keeps the requests."""

    daemon_threads = True
    status = 200
    answer: object = ANSWER
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
    assert call(client(stub)) == ANSWER
    sent_path, headers, sent = stub.requests[0]
    assert (sent_path, sent, headers["X-Tokenseal"]) == (path, body, "1")


NEEDED = [
    (lambda c: c.get(ROW), ("tokens", "plain", "revision")),
    (lambda c: c.fresh(ROW, valid_for=60), ("tokens", "plain", "revision")),
    (lambda c: c.put(ROW, {"a": "x"}), ("written", "revision")),
    (lambda c: c.delete(ROW), ("deleted",)),
    (lambda c: c.lease(ROW, seconds=5), ("lease", "expires")),
    (lambda c: c.release(ROW, lease="l"), ("released",)),
]


@pytest.mark.parametrize(("call", "needed"), NEEDED)
def test_an_answer_without_a_member_of_its_route_is_no_success(stub: Stub, call: Any, needed: tuple[str, ...]) -> None:
    for name in needed:
        for odd in (None, "", 7, [CANARY]):
            stub.answer = {**ANSWER, name: odd}
            with pytest.raises(AgentError) as failed:
                call(client(stub))
            assert (failed.value.status, failed.value.error_class) == (0, "unexpected")
        stub.answer = {other: value for other, value in ANSWER.items() if other != name}
        with pytest.raises(AgentError):
            call(client(stub))
    stub.answer = {"tokens": {"a": 7}, "plain": {}, "revision": "r", "deleted": False}
    with pytest.raises(AgentError):
        call(client(stub))


def test_an_item_without_its_value_is_no_success(stub: Stub) -> None:
    for answered in ({}, {"value": None}, {"value": 7, "text": 7, "encryption_version": 2, "encryption_method": None}):
        stub.answer = {"items": [answered]}
        for call in (lambda: client(stub).open_many([{"text": "x"}]), lambda: client(stub).seal_many([{"value": "x"}])):
            with pytest.raises(AgentError):
                call()


def test_an_empty_revision_or_lease_is_refused_before_anything_is_sent(stub: Stub) -> None:
    agent = client(stub)
    calls: list[Any] = [
        lambda: agent.put(ROW, {"a": "x"}, if_revision=""),
        lambda: agent.put(ROW, {"a": "x"}, lease=""),
        lambda: agent.put(ROW, {"a": "x"}, lease=7),  # type: ignore[arg-type]
        lambda: agent.delete(ROW, if_revision=""),
        lambda: agent.release(ROW, lease=""),
        lambda: agent.release(ROW, lease=None),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(Refused):
            call()
    assert stub.requests == []


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
    stub.latency = 0.4
    assert agent.fresh(ROW, valid_for=60) == ANSWER
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
    assert (failed.value.status, failed.value.error_class) == (0, "unexpected")
    assert CANARY not in str(failed.value)


class Raw(socketserver.ThreadingUnixStreamServer):
    """Answers each request of a connection with the next of its pieces, each byte after a pause; none: it closes."""

    daemon_threads = True
    answers: list[bytes]
    pause = 0.0
    requests = 0


class RawHandler(socketserver.StreamRequestHandler):
    server: Raw

    def handle(self) -> None:
        while head := self.rfile.readline():
            length = 0
            while head.strip():
                length = int(head.split(b":")[1]) if head.lower().startswith(b"content-length") else length
                head = self.rfile.readline()
            self.rfile.read(length)
            answer = self.server.answers[min(self.server.requests, len(self.server.answers) - 1)]
            self.server.requests += 1
            for byte in answer if self.server.pause else [answer]:
                time.sleep(self.server.pause)
                self.wfile.write(bytes([byte]) if isinstance(byte, int) else byte)
            if not answer.endswith(b"}"):
                return


BODY = json.dumps(ANSWER).encode()
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture
def raw(tmp_path: Path) -> Iterator[Raw]:
    server = Raw(str(tmp_path / "raw.sock"), RawHandler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_an_answer_that_breaks_off_is_no_answer_and_is_not_asked_for_again(raw: Raw) -> None:
    raw.answers = [WHOLE, WHOLE[:-2]]
    agent = AgentClient(str(raw.server_address))
    assert agent.get(ROW) == ANSWER
    with pytest.raises(AgentError) as failed:
        agent.get(ROW)
    assert (failed.value.status, failed.value.error_class, raw.requests) == (0, "unavailable", 2)


def test_a_read_is_sent_once_more_where_a_used_connection_ends_without_an_answer(raw: Raw) -> None:
    raw.answers = [WHOLE, b"", WHOLE, b""]
    agent = AgentClient(str(raw.server_address))
    assert [agent.get(ROW), agent.get(ROW)] == [ANSWER] * 2
    assert raw.requests == 3
    with pytest.raises(AgentError):
        agent.put(ROW, {"a": "x"})
    assert raw.requests == 4


@pytest.mark.parametrize(
    ("call", "requests"),
    [
        (lambda c: c.get(ROW), 3),
        (lambda c: c.find("c", "x"), 3),
        (lambda c: c.open("x", **CELL), 3),
        (lambda c: c.open_many([{"text": "x"}]), 3),
        (lambda c: c.seal("x", **CELL), 3),
        (lambda c: c.seal_many([{"value": "x"}]), 3),
        (lambda c: c.secret("name"), 3),
        (lambda c: c.put(ROW, {"a": "x"}), 2),
        (lambda c: c.delete(ROW), 2),
        (lambda c: c.fresh(ROW, valid_for=60), 2),
        (lambda c: c.lease(ROW, seconds=5), 2),
        (lambda c: c.release(ROW, lease="l"), 2),
    ],
)
def test_each_read_is_sent_once_more_and_no_other_call_is(raw: Raw, call: Any, requests: int) -> None:
    raw.answers = [WHOLE, b""]
    agent = AgentClient(str(raw.server_address))
    assert agent.get(ROW) == ANSWER
    with pytest.raises(AgentError):
        call(agent)
    assert raw.requests == requests


def test_a_call_ends_by_its_time_however_slowly_the_answer_comes(raw: Raw) -> None:
    raw.answers, raw.pause = [WHOLE], 0.05
    agent = AgentClient(str(raw.server_address), timeout=0.3)
    began = time.monotonic()
    with pytest.raises(AgentError) as failed:
        agent.get(ROW)
    assert (failed.value.status, raw.requests) == (0, 1)
    assert time.monotonic() - began < 0.05 * len(WHOLE)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"class": "malformed", "status": 400}, 400),
        ({"class": "of_a_later_agent", "status": 404}, 404),
        ({"class": "malformed"}, 400),
        ({"class": "not_found"}, 404),
        ({"class": "policy"}, 403),
        ({"class": "missing_key"}, 422),
        ({"class": "missing_key", "status": True}, 422),
        ({"class": "missing_key", "status": 200}, 422),
    ],
    ids=str,
)
def test_the_error_of_a_single_value_has_the_status_of_its_kind(stub: Stub, error: Any, status: int) -> None:
    stub.answer = {"items": [{"error": {**error, "message": "m"}}]}
    for call in (lambda: client(stub).open("x", **CELL), lambda: client(stub).seal("x", **CELL)):
        with pytest.raises(AgentError) as failed:
            call()
        assert failed.value.status == status


def test_a_lease_of_another_says_when_it_ends(stub: Stub) -> None:
    stub.status, stub.answer = 423, {"error": {"class": "leased", "message": "m"}, "expires": "2026-11-29T00:00:00Z"}
    with pytest.raises(AgentError) as failed:
        client(stub).lease(ROW, seconds=5)
    assert failed.value.expires == "2026-11-29T00:00:00Z"


def test_a_request_that_is_longer_than_the_agent_reads_is_not_sent(stub: Stub) -> None:
    with pytest.raises(AgentError) as failed:
        client(stub).put(ROW, {"a": "x" * (2 << 20)})
    assert (failed.value.status, failed.value.error_class, stub.requests) == (413, "body_too_long", [])


def test_plain_values_that_are_dates_and_times_are_sent_as_rfc_3339(stub: Stub) -> None:
    at = datetime.datetime(2026, 11, 29, 3, 4, 5, tzinfo=datetime.UTC)
    client(stub).put(ROW, {"a": "x"}, plain={"at": at, "on": at.date()})
    assert stub.requests[0][2]["plain"] == {"at": "2026-11-29T03:04:05+00:00", "on": "2026-11-29"}
    with pytest.raises(Refused):
        client(stub).put(ROW, {"a": "x"}, plain={"at": at.replace(tzinfo=None)})


class Provider(str, enum.Enum):  # noqa: UP042 - as services have them
    TWITCH = "twitch"


def test_a_kind_of_text_is_sent_as_its_own_text(stub: Stub) -> None:
    client(stub).put({"provider": Provider.TWITCH}, {"a": Provider.TWITCH}, plain={"b": Provider.TWITCH})
    assert stub.requests[0][2] == {"row": {"provider": "twitch"}, "tokens": {"a": "twitch"}, "plain": {"b": "twitch"}}


def test_columns_are_a_list_of_names(stub: Stub) -> None:
    with pytest.raises(Refused):
        client(stub).get(ROW, columns="email")


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


def test_a_connection_that_was_idle_for_long_is_not_used_again(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    with client(stub) as agent:
        agent.get(ROW)
        first = agent._connection.sock
        agent.get(ROW)
        assert agent._connection.sock is first
        monkeypatch.setattr("tokenseal._agent_connection._MAX_IDLE", -1.0)
        agent.get(ROW)
        assert agent._connection.sock is not first


def test_a_request_over_tcp_is_sent_without_waiting_for_acknowledgements() -> None:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), RawHandler)
    server.daemon_threads = True
    server.answers, server.pause, server.requests = [WHOLE], 0.0, 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with AgentClient(f"127.0.0.1:{server.server_address[1]}", token="t" * 43) as agent:
            assert agent.get(ROW) == ANSWER
            assert agent._connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
    finally:
        server.shutdown()
        server.server_close()


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


SEALED = {"text": "kms:v2:…", "encryption_key_id": "arn", "encryption_version": 2, "encryption_method": "kms-envelope"}


@pytest.mark.parametrize(
    "sealed", [SEALED, {"text": "x", "encryption_key_id": None, "encryption_version": 0, "encryption_method": None}]
)
def test_a_sealed_value_says_how_it_is_stored(stub: Stub, sealed: dict[str, Any]) -> None:
    stub.answer = {"items": [sealed]}
    assert client(stub).seal("x", **CELL) == sealed
    assert stub.requests[-1][2] == {"items": [{"value": "x", **CELL}]}


@pytest.mark.parametrize("lacks", ["text", "encryption_version", "encryption_method"])
def test_an_answer_that_does_not_say_how_a_value_is_stored_is_refused(stub: Stub, lacks: str) -> None:
    for answer in ({name: value for name, value in SEALED.items() if name != lacks}, {**SEALED, lacks: True}):
        stub.answer = {"items": [answer]}
        with pytest.raises(AgentError):
            client(stub).seal("x", **CELL)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (2**63 - 1, 2**63 - 1),
        (7.0, 7),
        ("9007199254740993", "9007199254740993"),
        (uuid.UUID("6F9619FF-8B86-D011-B42D-00CF4FC964FF"), "6f9619ff-8b86-d011-b42d-00cf4fc964ff"),
        (FromDatabase("1.50"), "1.50"),
        (None, None),
    ],
)
def test_keys_are_sent_as_they_are(stub: Stub, given: Any, sent: object) -> None:
    stub.answer = {**ANSWER, "items": [{"value": "x"}]}
    agent = client(stub)
    agent.get({"id": given})
    agent.open("", table="t", column="c", row={"id": given}, owner={"tenant": given}, version="2")
    assert stub.requests[0][2] == {"row": {"id": sent}}
    item = {"text": "", "table": "t", "column": "c", "row": {"id": sent}, "owner": {"tenant": sent}, "version": 2}
    assert stub.requests[1][2] == {"items": [item]}


NOT_ONE_TEXT = [
    2**63,
    float(2**53),
    1.5,
    float("nan"),
    True,
    decimal.Decimal("7"),
    datetime.datetime(2026, 1, 1),
    b"7",
    [7],
    f"{CANARY}\ud800",
    FromDatabase(7),  # type: ignore[arg-type]
]


def no_value_in(error: BaseException) -> bool:
    """Whether an error shows no value, and no other error that could."""
    return (
        isinstance(error, TokensealError)
        and error.__context__ is None
        and CANARY not in "".join(traceback.format_exception_only(error))
    )


@pytest.mark.parametrize("value", NOT_ONE_TEXT, ids=lambda value: type(value).__name__)
def test_keys_that_have_no_one_text_are_refused_before_anything_is_sent(stub: Stub, value: Any) -> None:
    agent, row = client(stub), {"id": value}
    calls = [
        lambda: agent.get(row),
        lambda: agent.put(row, {"a": "x"}),
        lambda: agent.put(ROW, {"a": "x"}, plain={"b": value} if value is not True else {"b": [1]}),
        lambda: agent.put(ROW, {"a": value}),
        lambda: agent.delete(row),
        lambda: agent.fresh(row, valid_for=1),
        lambda: agent.lease(row, seconds=1),
        lambda: agent.release(row, lease="l"),
        lambda: agent.open("x", table="t", column="c", row=row),
        lambda: agent.seal("x", table="t", column="c", row=ROW, owner=row),
        lambda: agent.seal(value, **CELL),
        lambda: agent.open(value, **CELL),
        lambda: agent.find("c", value),
    ]
    for call in calls:
        with pytest.raises(Refused) as refused:
            call()
        assert no_value_in(refused.value)
    assert stub.requests == []


def test_no_error_of_a_request_that_cannot_be_written_carries_its_values(stub: Stub) -> None:
    agent, odd = client(stub), object()
    for call in (
        lambda: agent.get(ROW, columns=[f"{CANARY}\ud800"]),
        lambda: agent.get(ROW, table=odd),  # type: ignore[arg-type]
        lambda: agent.put(ROW, {"a": CANARY}, if_revision="\ud800"),
        lambda: agent.put(ROW, CANARY),  # type: ignore[arg-type]
        lambda: agent.put(ROW, {"a": CANARY}, plain={7: 1}),  # type: ignore[dict-item]
        lambda: agent.get(None),  # type: ignore[arg-type]
        lambda: agent.fresh(ROW, valid_for=float("nan")),  # type: ignore[arg-type]
        lambda: agent.secret(b"name"),  # type: ignore[arg-type]
    ):
        with pytest.raises(Refused) as refused:
            call()
        assert no_value_in(refused.value)
    with pytest.raises(Malformed):
        agent.open(CANARY, **CELL, version=3)
    assert stub.requests == []


def test_an_item_that_cannot_be_sent_spoils_no_other(stub: Stub) -> None:
    stub.answer = {"items": [{"value": "first"}, {"value": "last"}]}
    bad: list[Any] = [{"text": "\ud800"}, {"text": None}, {"version": 3}, {"row": {"id": 1.5}}, {"value": "x"}, None]
    results = client(stub).open_many([{"text": "a"}, *bad, {"text": "b", "version": "2"}])
    assert [result.get("value") for result in results] == ["first", *[None] * len(bad), "last"]
    assert all(result["error"]["class"] == "malformed" for result in results[1:-1])
    assert stub.requests[0][2] == {"items": [{"text": "a"}, {"text": "b", "version": 2}]}
    assert client(stub).seal_many([{"value": 7}])[0]["error"]["class"] == "malformed"
    assert len(stub.requests) == 1


def test_an_answer_too_deep_to_be_read_is_an_error_of_the_agent(stub: Stub) -> None:
    stub.answer = b"[" * 200_000
    with pytest.raises(AgentError):
        client(stub).get(ROW)


@pytest.mark.parametrize("socket", ["", "a\0b", 7, "127.0.0.1:99999", "127.0.0.1:0"], ids=repr)
def test_an_address_that_cannot_be_one_is_refused(socket: Any) -> None:
    with pytest.raises(ConfigurationError):
        AgentClient(socket, token="t")
    with pytest.raises(ConfigurationError):
        AgentClient("/x", timeout=-1)
