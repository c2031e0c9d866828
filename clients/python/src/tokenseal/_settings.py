"""Settings: every variable that this client reads, with the names and meanings that the programs give them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ._duration import SPACE, parse_duration
from ._encoding import decode_base64, decoded_utf8
from ._errors import ConfigurationError, Malformed
from ._profile import FLOORS, Profile

ENVELOPE_FORMATS = ("v2", "v3")
BINDINGS = ("accept-unbound", "require", "off")
PLAINTEXT_POLICIES = ("allow", "allow-read", "forbid")

_MAX_FILE_LEN = 65_536


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """The configuration of a sealer, parsed."""

    profile: Profile
    key_id: str
    allowed_keys: tuple[str, ...]
    envelope_format: str
    binding: str
    plaintext_policy: str
    floor: str
    direct_key: bytes | None
    cache_ttl: float
    cache_max: int


def variable(name: str) -> str | None:
    """A variable, or the content of the file that ``<name>_FILE`` names; an empty one counts as not set."""
    value, path = os.environ.get(name, "").strip(SPACE), os.environ.get(f"{name}_FILE", "").strip(SPACE)
    if value and path:
        raise ConfigurationError(f"{name} and {name}_FILE are both set: unset one of them")
    if not path:
        return value or None
    text: str | None = None
    try:
        file = Path(path)
        if not file.is_file() or file.stat().st_size > _MAX_FILE_LEN:
            raise ConfigurationError(f"{name}_FILE does not name a regular file of at most {_MAX_FILE_LEN} bytes")
        text = decoded_utf8(file.read_bytes())
    except (OSError, ValueError):
        pass
    if text is None:
        raise ConfigurationError(f"{name}_FILE names a file that cannot be read as text")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise ConfigurationError(f"{name}_FILE names a file that is empty")
    return text


def choice(given: str | None, name: str, choices: tuple[str, ...]) -> str:
    """The caller's value, or the variable, or the first choice."""
    value = given if given is not None else variable(name)
    if value is None:
        return choices[0]
    if value not in choices:
        raise ConfigurationError(f"{name} must be one of {', '.join(choices)}")
    return value


def key_id(given: str | None) -> str:
    value = given or variable("KMS_KEY_ID") or variable("TOKEN_ENCRYPTION_KEY_ID")
    if not value:
        raise ConfigurationError("no key is configured: pass key_id, or set KMS_KEY_ID")
    return value


def allowed_keys(given: Iterable[str] | None) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ConfigurationError("allowed_keys must be a list of keys, not one text")
    keys = given if given is not None else (variable("KMS_ALLOWED_KEYS") or "").split(",")
    return tuple(key.strip() for key in keys if key.strip())


def profile(given: Profile | str | None) -> Profile:
    """The profile that was given or named; ENCRYPTION_CONTEXT replaces its pairs, as it does for the programs."""
    loaded = given if isinstance(given, Profile) else Profile.load(given or variable("TOKEN_PROFILE") or "vod-tender")
    pairs = variable("ENCRYPTION_CONTEXT")
    return loaded if pairs is None or loaded.context_is_given else loaded.with_context(_pairs(pairs))


def floor(given: str | None, of_profile: str) -> str:
    value = given if given is not None else variable("READ_FLOOR")
    return of_profile if value is None else choice(value, "READ_FLOOR", FLOORS)


def direct_key(given: str | None) -> bytes | None:
    text = given if given is not None else variable("ENCRYPTION_KEY")
    if text is None:
        return None
    try:
        key = decode_base64(text.strip())
    except Malformed:
        key = None
    if key is None:
        raise ConfigurationError("ENCRYPTION_KEY is not standard base64 with padding")
    if len(key) != 32:
        raise ConfigurationError(f"ENCRYPTION_KEY is {len(key)} bytes long; expected base64 of exactly 32 bytes")
    return key


def seconds(given: float | None, name: str, default: float) -> float:
    if given is not None:
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 86_400:
            raise ConfigurationError(f"{name} must be between 0 and 86400 seconds")
        return float(given)
    text = variable(name)
    if text is None:
        return default
    parsed = parse_duration(text)
    if parsed is None:
        raise ConfigurationError(f"{name} must be a duration such as 30s, 5m or 1h 30m")
    return parsed


def count(given: int | None, name: str, default: int) -> int:
    text = variable(name) if given is None else str(given)
    if text is None:
        return default
    # As the programs read it: 64 bits, and a sign that changes nothing.
    if not re.fullmatch(r"\+?[0-9]{1,30}", text) or int(text) >= 2**64:
        raise ConfigurationError(f"{name} must be a whole number")
    return int(text)


def _pairs(text: str) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or not value:
            raise ConfigurationError("ENCRYPTION_CONTEXT must be name=value,name=value")
        if name in pairs:
            raise ConfigurationError(f"ENCRYPTION_CONTEXT: {name!r} is given twice")
        pairs[name] = value
    return pairs
