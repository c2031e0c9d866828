"""A connection to the agent on which a call ends by its deadline, however slowly the answer comes in."""

from __future__ import annotations

import http.client
import socket
import time
from typing import Any

# Seconds that a connection is kept idle: less than the agent keeps it, so that no write meets a closed one.
_MAX_IDLE = 10.0


class AgentConnection(http.client.HTTPConnection):
    """HTTP over the agent's Unix socket (``path``), or over loopback."""

    def __init__(self, host: str = "localhost", port: int | None = None, *, path: str | None = None) -> None:
        super().__init__(host, port)
        self._path = path
        self._deadline = 0.0
        self._used = 0.0

    def begin(self, deadline: float) -> None:
        """Begins a call that ends by a deadline of the monotonic clock, on a connection that is still open."""
        self._deadline = deadline
        if self.sock is not None and (time.monotonic() - self._used > _MAX_IDLE or self.sock.was_closed()):
            self.close()
        if self.sock is not None:
            self.sock.deadline = deadline

    @property
    def is_reused(self) -> bool:
        """Whether the next request goes over a connection that had others."""
        return self.sock is not None

    def rest(self) -> None:
        """Notes that the connection is idle from now on."""
        self._used = time.monotonic()

    def connect(self) -> None:
        within = max(self._deadline - time.monotonic(), 0.001)
        if self._path is None:
            opened = socket.create_connection((self.host, self.port), within)
            self.sock: Any = _TimedSocket(fileno=opened.detach())
            # A request is two writes, and the second would wait until the first is acknowledged.
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.sock = _TimedSocket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(within)
            self.sock.connect(self._path)
        self.sock.deadline = self._deadline


class _TimedSocket(socket.socket):
    """A socket whose timeout is the rest of the time until a deadline, instead of a time for each piece."""

    deadline = 0.0

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        self._wait_for_the_rest()
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self._wait_for_the_rest()
        super().sendall(data, flags)

    def was_closed(self) -> bool:
        """Whether the other side closed it while it was idle: a write that fails on it is not repeated."""
        self.settimeout(0)
        try:
            self.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False  # nothing came in, so it is open
        except OSError:
            pass
        return True

    def _wait_for_the_rest(self) -> None:
        rest = self.deadline - time.monotonic()
        if rest <= 0:
            raise TimeoutError
        self.settimeout(rest)
