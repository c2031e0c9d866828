"""Names of AWS KMS keys: which are allowed, and whether two name the same key."""

from __future__ import annotations

import re
from typing import NamedTuple

from ._errors import ConfigurationError, Unsupported

_ARN = re.compile(r"arn:([a-z-]+):kms:([a-z0-9-]+):([0-9]{12}):((?:key|alias)/.+)")
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]+")
_ID = re.compile(r"[A-Za-z0-9-]{1,128}")


class KeyArn(NamedTuple):
    partition: str
    region: str
    account: str
    resource: str


def parse_arn(text: str) -> KeyArn | None:
    parsed = _ARN.fullmatch(text)
    return KeyArn(*parsed.groups()) if parsed else None


def check_configured(key: str) -> str:
    """A configured key: an alias, an ARN of a key or alias, or a bare key id."""
    arn = parse_arn(key)
    if arn is not None:
        if _ALIAS.fullmatch(arn.resource) or _ID.fullmatch(arn.resource.removeprefix("key/")):
            return key
    elif _ALIAS.fullmatch(key) or _ID.fullmatch(key):
        return key
    if key.startswith(("keyring:", "vault:")):
        raise Unsupported("this client works with AWS KMS: keyrings and Vault are reached through the agent")
    if "," in key:
        raise Unsupported("this client takes one key: several Regions are reached through the agent")
    # Not repeated: it may be a secret that was put into the wrong variable.
    raise ConfigurationError("a key must be alias/<name>, the ARN of a KMS key or alias, or a key id")


def alias_name(text: str) -> str | None:
    """``alias/…`` out of an alias's name or ARN."""
    arn = parse_arn(text)
    name = arn.resource if arn else text
    return name if name.startswith("alias/") else None


def key_id(text: str) -> str | None:
    """The id out of a key's ARN, or a text that can be an id."""
    arn = parse_arn(text)
    if arn is not None:
        text = arn.resource.removeprefix("key/") if arn.resource.startswith("key/") else ""
    return text if _ID.fullmatch(text) else None


def same_alias(own: str, claim: str) -> bool:
    if alias_name(own) is None:
        return False
    if own.startswith("arn:") and claim.startswith("arn:"):
        return own == claim
    return alias_name(own) == alias_name(claim)


def same_key(own: str, claim: str) -> bool:
    """Whether two key ARNs, two ids, or one of each name the same key; replicas of a multi-Region key do."""
    if own.startswith("arn:") and claim.startswith("arn:"):
        mine, theirs = parse_arn(own), parse_arn(claim)
        replicas = (
            mine is not None
            and theirs is not None
            and mine.resource.startswith("key/mrk-")
            and mine._replace(region=theirs.region) == theirs
        )
        return own == claim or replicas
    return key_id(own) is not None and key_id(own) == key_id(claim)
