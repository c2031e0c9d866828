"""Every test starts without the variables that configure a sealer."""

import pytest

VARIABLES = [
    "KMS_KEY_ID", "TOKEN_ENCRYPTION_KEY_ID", "KMS_ALLOWED_KEYS", "TOKEN_PROFILE", "ENCRYPTION_CONTEXT",
    "ENVELOPE_FORMAT", "BINDING", "PLAINTEXT_POLICY", "READ_FLOOR", "ENCRYPTION_KEY", "DEK_CACHE_TTL", "DEK_CACHE_MAX",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
