#!/usr/bin/env python3
"""Callers in every language ask two agents on one database for tokens that expire together: one grant for each token.

The provider revokes all tokens of a sign-in when a refresh token is used twice, so that a second grant is not overlooked.
"""

import argparse
import contextlib
import threading
from pathlib import Path

import agents
import oauth_provider
from cross import Check, Tool
from mixed_writers import amazon, make_table

CHANNELS = [f"channel-{number:02}" for number in range(12)]
# Each round begins with tokens that are about to expire, and each caller asks for all of them.
ROUNDS, AGENTS, CALLERS_OF_EACH = 3, 2, 2
LANGUAGES = ("python", "node", "go")
LATENCY_SECONDS = 0.1
VALID_FOR, LEFT = 60, 30
LIMIT_SECONDS = 120
PROFILE = """
name = "vod-tender"
[context]
Application = "vod-tender"
Purpose = "oauth-token"
[[tables]]
name = "oauth_tokens"
key = ["provider", "channel"]
tokens = ["access_token", "refresh_token"]
plain = ["expires_at", "scope"]
updated = "updated_at"
[tables.version]
version = "encryption_version"
method = "encryption_method"
key_id = "encryption_key_id"
[tables.refresh]
access = "access_token"
refresh = "refresh_token"
expires_at = "expires_at"
provider = "provider"
[providers.twitch]
token_url = "{token_url}"
client_id = "the-client"
client_secret = "PROVIDER_SECRET"
"""


def fill(check, database, url, provider):
    """Rows that hold the first tokens as plaintext, and the table of leases."""
    make_table(database, CHANNELS)
    for channel, (access, refresh) in provider.current.items():
        database.execute(
            "UPDATE oauth_tokens SET access_token = %s, refresh_token = %s WHERE channel = %s",
            (access, refresh, channel),
        )
    check.migrate_tokens("schema", database=url, profile=check.directory / "refresh.toml")


class Callers:
    """Processes in every language, some for each agent, that ask at once."""

    def __init__(self, check, sockets):
        self.check, self.sockets = check, sockets
        names = [(name, socket) for name in LANGUAGES for socket in sockets for _ in range(CALLERS_OF_EACH)]
        self.callers = [(name, socket, Tool(name, check.commands[name])) for name, socket in names]
        for _, socket, tool in self.callers:
            tool(op="agent-get", socket=socket, channels=CHANNELS[:1])  # it runs, and reaches its agent

    def ask(self, round_number):
        """Has every caller ask for all tokens at the same time, and returns what each got."""
        answers, start = [], threading.Barrier(len(self.callers))

        def ask(name, socket, tool, order):
            start.wait(LIMIT_SECONDS)
            answers.append((name, tool(op="agent-fresh", socket=socket, channels=order, valid_for=VALID_FOR)))

        threads = []
        for number, (name, socket, tool) in enumerate(self.callers):
            # Half of them in the same order, so that they meet on each token; the others from elsewhere.
            first = (number % 2) * (number + round_number) % len(CHANNELS)
            order = CHANNELS[first:] + CHANNELS[:first]
            threads.append(threading.Thread(target=ask, args=(name, socket, tool, order), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_SECONDS)
        self.check.expect(len(answers), len(self.callers), "every caller ends")
        return answers


def every_round_costs_one_grant_a_token(check, callers, database, url, provider):
    for number in range(1, ROUNDS + 1):
        database.execute(f"UPDATE oauth_tokens SET expires_at = now() + interval '{LEFT} seconds'")
        moving = threading.Thread(target=migrate, args=(check, url))
        if number == 1:
            moving.start()
        answers = callers.ask(number)
        if number == 1:
            moving.join()
        wanted = {channel: {"access": pair[0], "refresh": pair[1]} for channel, pair in provider.current.items()}
        for name, answer in answers:
            check.expect(answer, {"rows": wanted}, f"{name} gets the tokens of round {number}")
        check.expect(provider.granted, number * len(CHANNELS), f"grants after round {number}")
    check.expect(set(provider.grants.values()), {1}, "grants for each refresh token")
    check.expect((provider.refused, provider.revoked), ([], set()), "the provider refuses and revokes nothing")


def migrate(check, url):
    """The rows are sealed while the first tokens are refreshed. 3: it gave up on a row that was changed again and again."""
    check.migrate_tokens("migrate", database=url, profile=check.directory / "refresh.toml", codes=(0, 3))


def a_revoked_sign_in_needs_the_user(check, sockets, database, provider):
    """Another program spends a refresh token: every language hears that the user must sign in, and the provider is asked once."""
    channel = CHANNELS[0]
    provider.grant(provider.current[channel][1])
    database.execute("UPDATE oauth_tokens SET expires_at = now() WHERE channel = %s", (channel,))
    for name in LANGUAGES:
        for socket in sockets:
            answer = check.tools[name](op="agent-fresh", socket=socket, channels=[channel], valid_for=VALID_FOR)
            wanted = {"error": "AgentError", "status": 409, "needs_consent": True}
            check.expect(answer, wanted, f"{name} for a sign-in that was revoked")
    check.expect(provider.refused, [channel], "the provider is asked once about a token that it refuses")


def nothing_is_left_open(check, url, database):
    states = database.execute("SELECT state, count(*) AS rows FROM tokenseal_leases GROUP BY state").fetchall()
    found = {row["state"]: row["rows"] for row in states}
    check.expect(found, {"idle": len(CHANNELS) - 1, "needs_consent": 1}, "the leases at the end")
    settings = {"database": url, "profile": check.directory / "refresh.toml"}
    check.expect(check.migrate_tokens("migrate", **settings)["failed"], 0, "a last migrate")
    verified = check.migrate_tokens("verify", BINDING="require", PLAINTEXT_POLICY="forbid", **settings)
    counted = (verified["ok"], verified["unbound"], verified["failed"])
    check.expect(counted, (2 * len(CHANNELS), 0, 0), "verify at the end")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="path of migrate-tokens, next to tokenseal-agent")
    program = Path(parser.parse_args().program)
    check = Check(program)
    with (
        oauth_provider.serving(CHANNELS, LATENCY_SECONDS) as provider,
        agents.schema() as (database, url),
        contextlib.ExitStack() as fleet,
    ):
        profile = check.directory / "refresh.toml"
        profile.write_text(PROFILE.replace("{token_url}", provider.url))
        fill(check, database, url, provider)
        settings = {**amazon(check), "DATABASE_URL": url, "TOKEN_PROFILE": str(profile), "PROVIDER_SECRET": "canary"}
        binary = program.with_name("tokenseal-agent")
        sockets = [fleet.enter_context(agents.running(binary, **settings)) for _ in range(AGENTS)]
        callers = Callers(check, sockets)
        every_round_costs_one_grant_a_token(check, callers, database, url, provider)
        granted = provider.granted
        a_revoked_sign_in_needs_the_user(check, sockets, database, provider)
        nothing_is_left_open(check, url, database)
    count = len(callers.callers)
    asked = count * ROUNDS * len(CHANNELS)
    print(f"{check.held} held; {count} callers of {AGENTS} agents asked {asked} times: {granted} grants, none twice")


if __name__ == "__main__":
    main()
