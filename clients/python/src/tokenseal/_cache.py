"""The cache of unwrapped data keys: bounded by time and number, one request in flight for each key."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

# How often what has expired is dropped while no one asks, in seconds.
_SWEEP = 5.0


class DataKeyCache:
    """Data keys by a digest of everything that decides whether they may be used."""

    def __init__(self, ttl: float, maximum: int) -> None:
        self._ttl = ttl
        self._maximum = maximum
        self._lock = threading.Lock()
        self._keys: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._flights: dict[bytes, Future[bytes]] = {}
        self._sweeper: threading.Timer | None = None

    def __repr__(self) -> str:
        return f"DataKeyCache({len(self._keys)} keys)"

    def get(self, name: bytes) -> bytes | None:
        with self._lock:
            entry = self._keys.get(name)
            if entry is None:
                return None
            if entry[0] <= time.monotonic():
                del self._keys[name]
                return None
            self._keys.move_to_end(name)
            return entry[1]

    def fetch(self, name: bytes, unwrap: Callable[[], bytes]) -> bytes:
        """The cached key, or the answer of one call that all who ask at the same time share. Errors are not kept."""
        with self._lock:
            entry = self._keys.get(name)
            if entry is not None and entry[0] > time.monotonic():
                return entry[1]
            flight = self._flights.get(name)
            leads = flight is None
            if flight is None:
                flight = self._flights[name] = Future()
        if not leads:
            return flight.result()
        try:
            key = unwrap()
        except BaseException as error:
            with self._lock:
                del self._flights[name]
            flight.set_exception(error)
            raise
        with self._lock:
            del self._flights[name]
            self._keep(name, key)
        flight.set_result(key)
        return key

    def clear(self) -> None:
        """Forgets every key."""
        with self._lock:
            self._keys.clear()

    def _keep(self, name: bytes, key: bytes) -> None:
        if self._ttl <= 0 or self._maximum <= 0:
            return
        # Up to a tenth less, so that keys that came together do not expire together.
        lifetime = self._ttl * (1 - random.random() / 10)  # noqa: S311
        self._keys[name] = (time.monotonic() + lifetime, key)
        self._keys.move_to_end(name)
        while len(self._keys) > self._maximum:
            self._keys.popitem(last=False)
        self._schedule()

    def _schedule(self) -> None:
        if self._sweeper is None and self._keys:
            self._sweeper = threading.Timer(_SWEEP, self._sweep)
            self._sweeper.daemon = True
            self._sweeper.start()

    def _sweep(self) -> None:
        with self._lock:
            now = time.monotonic()
            for name in [name for name, (until, _) in self._keys.items() if until <= now]:
                del self._keys[name]
            self._sweeper = None
            self._schedule()
