"""An OAuth provider that rotates refresh tokens, and revokes all tokens of a sign-in when one is used twice (RFC 9700)."""

import collections
import contextlib
import http.server
import json
import secrets
import threading
import time
import urllib.parse

LIFETIME_SECONDS = 3600


class Provider(http.server.ThreadingHTTPServer):
    """One sign-in for each channel. Each answer takes `latency` seconds, as long as a network does."""

    daemon_threads = True

    def __init__(self, channels, latency):
        super().__init__(("127.0.0.1", 0), Handler)
        self.latency, self.lock = latency, threading.Lock()
        # The tokens that are valid, by channel.
        self.current = {channel: (f"access of {channel}", f"{channel}/0/first") for channel in channels}
        # How often each refresh token was granted for; the channels whose tokens were refused or revoked.
        self.grants, self.refused, self.revoked = collections.Counter(), [], set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/token"

    @property
    def granted(self):
        return self.grants.total()

    def grant(self, token):
        channel, number, _ = (token.split("/") + ["", "", ""])[:3]
        with self.lock:
            if channel in self.revoked or self.current.get(channel, (None, None))[1] != token:
                self.refused.append(channel)
                self.revoked.add(channel)
                return None
            turn = int(number) + 1
            pair = (f"access {turn} {secrets.token_urlsafe(12)}", f"{channel}/{turn}/{secrets.token_urlsafe(24)}")
            self.current[channel] = pair
            self.grants[token] += 1
        return {"access_token": pair[0], "refresh_token": pair[1], "expires_in": LIFETIME_SECONDS}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        time.sleep(self.server.latency)
        granted = self.server.grant(form["refresh_token"][0])
        body = json.dumps(granted or {"error": "invalid_grant"}).encode()
        self.send_response(200 if granted else 400)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(channels, latency):
    """A provider that answers until the context ends."""
    with Provider(channels, latency) as provider:
        threading.Thread(target=provider.serve_forever, daemon=True).start()
        try:
            yield provider
        finally:
            provider.shutdown()
