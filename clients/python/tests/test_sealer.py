"""A value opens in its own cell, under the rules of the configuration, and nowhere else."""

from __future__ import annotations

import base64
import enum
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support import (
    ALIAS,
    ARN,
    CANARY,
    CRM_CELL,
    DIRECT_KEY,
    OTHER_ARN,
    VOD_CELL,
    VOD_ROW,
    KmsFailure,
    MemoryKms,
    crm,
    vod,
)

from tokenseal import (
    ConfigurationError,
    FromDatabase,
    KeyServiceError,
    Malformed,
    NotAuthentic,
    Profile,
    Refused,
    Sealer,
    TokensealError,
    Unsupported,
)
from tokenseal._binding import Binding
from tokenseal._envelopes import AES_256_GCM, EnvelopeV3, _derive

FORMATS: list[dict[str, Any]] = [
    {},
    {"envelope_format": "v3"},
    {"envelope_format": "v3", "suite": "chacha20-poly1305"},
    {"binding": "off"},
]
TEXTS = ["x", "gho_16C7e42F292c6912E7710c838347Ae178B4a", "tök€n-ünï-🔑\x00 \"'\\", "kms:v2:", "y" * 65_536]


@pytest.mark.parametrize("options", FORMATS)
@pytest.mark.parametrize("text", TEXTS, ids=len)
def test_what_is_sealed_opens(options: dict[str, Any], text: str) -> None:
    kms = MemoryKms()
    sealed = vod(kms, **options).seal(text, **VOD_CELL)
    assert (sealed.version, sealed.method, sealed.key_id) == (2, "kms-envelope", ARN)
    for other in FORMATS:
        assert vod(kms, **other).open(sealed.text, **VOD_CELL, version=2, key_id=sealed.key_id) == text


def test_null_and_empty_stay_what_they_are_and_cost_no_call() -> None:
    kms = MemoryKms()
    assert vod(kms).open(None, **VOD_CELL, version=2) is None
    assert vod(kms).open("", **VOD_CELL, version=2) == ""
    assert vod(kms).seal("", **VOD_CELL) == ("", None, 2, "kms-envelope")
    assert kms.calls == []


OTHER_CELLS = [
    {"row": {"id": 8}},
    {"owner": {"tenant_id": "other"}},
    {"owner": {"tenant_id": None}},
    {"column": "phone"},
]


@pytest.mark.parametrize("options", FORMATS[:3])
@pytest.mark.parametrize("other", OTHER_CELLS, ids=str)
def test_a_moved_value_does_not_open_even_with_a_warm_cache(options: dict[str, Any], other: dict[str, Any]) -> None:
    kms = MemoryKms()
    sealer = crm(kms, **options)
    sealed = sealer.seal(CANARY, **CRM_CELL)
    assert sealer.open(sealed.text, **CRM_CELL) == CANARY
    with pytest.raises(NotAuthentic):
        sealer.open(sealed.text, **{**CRM_CELL, **other})


@pytest.mark.parametrize("options", FORMATS[:3])
def test_every_changed_byte_is_refused(options: dict[str, Any]) -> None:
    sealer = crm(MemoryKms(), **options)
    text = sealer.seal(CANARY, **CRM_CELL).text
    for at in range(len(text)):
        for replacement in ("A", "B", "=", " "):
            changed = text[:at] + replacement + text[at + 1 :]
            if changed != text:
                with pytest.raises((Malformed, NotAuthentic, Refused, KeyServiceError)):
                    sealer.open(changed, **CRM_CELL)
    for length in range(1, len(text)):
        with pytest.raises((Malformed, NotAuthentic, Refused)):
            sealer.open(text[:length], **CRM_CELL)


def test_a_row_marked_2_is_never_returned_as_plaintext() -> None:
    sealer = vod(MemoryKms(), encryption_key=DIRECT_KEY)
    for text in ("gho_plain", "v1|x", "kms:v9:AAAA", " kms:v2:AAAA", base64.b64encode(bytes(60)).decode()):
        with pytest.raises(Malformed):
            sealer.open(text, **VOD_CELL, version=2)


def test_text_that_contradicts_its_version_is_refused() -> None:
    kms = MemoryKms()
    sealer = vod(kms, encryption_key=DIRECT_KEY)
    sealed = sealer.seal("x", **VOD_CELL).text
    for version in (0, 1, None):
        with pytest.raises(Malformed):
            sealer.open(sealed, **VOD_CELL, version=version)
    for version in (3, -1, "x", True, "02"):
        with pytest.raises(Malformed):
            sealer.open("gho_plain", **VOD_CELL, version=version)


def test_plaintext_is_read_only_where_the_version_column_says_so() -> None:
    sealer = vod(MemoryKms())
    for version in (0, None, "0"):
        assert sealer.open("gho_plain", **VOD_CELL, version=version) == "gho_plain"
        assert sealer.open('{"broken', **VOD_CELL, version=version) == '{"broken'
    with pytest.raises(Refused):
        sealer.open("gho_plain", **VOD_CELL)
    with pytest.raises(Refused):
        crm(MemoryKms()).open("plain@example.org", **CRM_CELL)
    assert crm(MemoryKms()).open("plain@example.org", **CRM_CELL, version=0) == "plain@example.org"


def test_policies_mean_what_they_mean_in_the_programs() -> None:
    kms = MemoryKms()
    bound, plain = vod(kms).seal("x", **VOD_CELL).text, vod(kms, binding="off").seal("x", **VOD_CELL).text
    direct = "Wo1wd20YfeRKh/FB3w4ZRcaGHZTnTf/sYlBmeXE="
    key = "XkXtzoUzXKMQyf9qesdDL7Magn5MmYjBrtHGvRJuxlk="

    def opens(text: str, version: int, **options: Any) -> bool:
        sealer = vod(kms, encryption_key=key, **options)
        try:
            return sealer.open(text, **VOD_CELL, version=version) == "x"
        except Refused:
            return False

    assert opens("x", 0, plaintext_policy="allow-read")
    assert not opens("x", 0, plaintext_policy="forbid")
    assert opens(direct, 1, plaintext_policy="forbid")
    assert opens(plain, 2)
    assert not opens(plain, 2, binding="require")
    for floor, expected in {"any": (1, 1, 1, 1), "envelope": (0, 0, 1, 1), "bound": (0, 0, 0, 1)}.items():
        values = [("x", 0), (direct, 1), (plain, 2), (bound, 2)]
        assert [opens(*value, floor=floor) for value in values] == [bool(each) for each in expected], floor
    with pytest.raises(Refused):
        crm(kms, floor="envelope", legacy=lambda text, _: text).open("old", **CRM_CELL)


def test_the_environment_configures_what_is_not_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kms = MemoryKms()
    monkeypatch.setenv("ENVELOPE_FORMAT", "v3")
    monkeypatch.setenv("KMS_KEY_ID", ARN)
    monkeypatch.setenv("ENCRYPTION_CONTEXT", "Application=a,Purpose=b")
    (tmp_path / "key").write_text(DIRECT_KEY + "\n")
    monkeypatch.setenv("ENCRYPTION_KEY_FILE", str(tmp_path / "key"))
    sealer = Sealer(kms)
    assert sealer.seal("x", **VOD_CELL).text.startswith("kms:v3:")
    assert dict(sealer.profile.context) == {"Application": "a", "Purpose": "b"}
    given = Profile.load("vod-tender")
    assert dict(Sealer(kms, profile=given).profile.context) == {"Application": "a", "Purpose": "b"}
    chosen = given.with_context({"Application": "c"})
    assert dict(Sealer(kms, profile=chosen).profile.context) == {"Application": "c"}
    assert Sealer(kms, envelope_format="v2").seal("x", **VOD_CELL).text.startswith("kms:v2:")
    monkeypatch.setenv("READ_FLOOR", "envelope")
    with pytest.raises(Refused):
        Sealer(kms).open("x", **VOD_CELL, version=0)
    for name, value in {
        "ENVELOPE_FORMAT": "v4",
        "BINDING": "maybe",
        "PLAINTEXT_POLICY": "no",
        "READ_FLOOR": "low",
        "DEK_CACHE_TTL": "soon",
        "ENCRYPTION_CONTEXT": "table=x",
        "ENCRYPTION_KEY": DIRECT_KEY,
    }.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(ConfigurationError):
                Sealer(kms)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"envelope_format": "v1"}, ConfigurationError),
        ({"envelope_format": "v3", "binding": "off"}, ConfigurationError),
        ({"binding": "off", "floor": "bound"}, ConfigurationError),
        ({"suite": "rot13"}, ConfigurationError),
        ({"encryption_key": "c2hvcnQ="}, ConfigurationError),
        ({"key_id": "keyring:keys.json"}, Unsupported),
        ({"key_id": "vault:transit"}, Unsupported),
        ({"key_id": f"{ARN},{OTHER_ARN}"}, Unsupported),
        ({"key_id": "arn:aws:s3:::bucket"}, ConfigurationError),
        ({"allowed_keys": ARN}, ConfigurationError),
    ],
)
def test_unusable_settings_are_refused(options: dict[str, Any], error: type[TokensealError]) -> None:
    with pytest.raises(error):
        Sealer(MemoryKms(), **{"key_id": ARN, "profile": "vod-tender", **options})


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"name": ""},
        {"context": {"id": "x"}},
        {"context": {"table": "x"}},
        {"context": {"a": 1}},
        {"tables": []},
        {"floor": "high"},
        {"unmarked": "maybe"},
        {"tables": [{"name": "t", "key": [], "tokens": ["a"]}]},
        {"tables": [{"name": "t", "key": ["id"], "tokens": ["id"]}]},
        {"tables": [{"name": "t", "key": ["id"], "tokens": ["a"], "bound_As": "x"}]},
        {"tables": [{"name": "t", "key": ["id"], "tokens": ["a"], "bound_columns": {"b": "x"}}]},
        {"tables": [{"name": "t", "key": ["id"], "tokens": ["a", "b"], "bound_columns": {"b": "a"}}]},
        {"tables": [{"name": "t", "key": ["id"], "tokens": ["a"]}] * 2},
        {"tables": [{"name": "t", "key": ["id"], "tokens": ["a"], "types": {"a": "text"}}]},
        {
            "tables": [
                {"name": "t", "key": ["id"], "tokens": ["a"]},
                {"name": "u", "key": ["id"], "tokens": ["a"], "bound_as": "t"},
            ]
        },
    ],
    ids=str,
)
def test_a_profile_that_could_bind_wrongly_is_refused(change: dict[str, Any]) -> None:
    fields = {"name": "p", "context": {"a": "b"}, "tables": [{"name": "t", "key": ["id"], "tokens": ["a"]}]}
    Profile.from_dict(fields)
    with pytest.raises(ConfigurationError):
        Profile.from_dict({**fields, **change})


def test_a_key_that_is_not_allowed_is_refused_before_any_call_even_with_a_warm_cache() -> None:
    kms = MemoryKms()
    sealed = Sealer(kms, OTHER_ARN, "vod-tender").seal(CANARY, **VOD_CELL)
    sealer = vod(kms, allowed_keys=[OTHER_ARN])
    assert sealer.open(sealed.text, **VOD_CELL, key_id=OTHER_ARN) == CANARY
    kms.calls.clear()
    strict = vod(kms)
    with pytest.raises(Refused):
        strict.open(sealed.text, **VOD_CELL, key_id=OTHER_ARN)
    assert kms.calls == []
    # Without a claim, KMS refuses the key that the call names.
    with pytest.raises(KeyServiceError) as refused:
        strict.open(sealed.text, **VOD_CELL)
    assert refused.value.kind == "wrong_key"
    own = strict.seal(CANARY, **VOD_CELL).text
    strict.open(own, **VOD_CELL, key_id=ARN)
    with pytest.raises(Refused):
        strict.open(own, **VOD_CELL, key_id=OTHER_ARN)


def test_an_alias_stands_for_its_key_and_only_for_that() -> None:
    kms = MemoryKms()
    sealer = Sealer(kms, ALIAS, "vod-tender")
    sealed = sealer.seal("x", **VOD_CELL)
    assert sealed.key_id == ARN
    fresh = Sealer(kms, ALIAS, "vod-tender")
    assert fresh.open(sealed.text, **VOD_CELL, key_id=ARN) == "x"
    with pytest.raises(Refused):
        fresh.open(sealed.text, **VOD_CELL, key_id=OTHER_ARN)
    assert fresh.open(sealed.text, **VOD_CELL, key_id=ALIAS) == "x"


def test_an_answer_for_another_key_is_an_error_and_nothing_is_sealed() -> None:
    class Wrong(MemoryKms):
        def generate_data_key(self, **arguments: Any) -> Any:
            return {**super().generate_data_key(**arguments), "KeyId": OTHER_ARN}

        def decrypt(self, **arguments: Any) -> Any:
            return {**super().decrypt(**arguments), "KeyId": OTHER_ARN}

    sealed = vod(MemoryKms()).seal("x", **VOD_CELL)
    for call in (
        lambda: vod(Wrong()).seal("x", **VOD_CELL),
        lambda: vod(Wrong()).open(sealed.text, **VOD_CELL),
    ):
        with pytest.raises(KeyServiceError):
            call()


@pytest.mark.parametrize(
    "answer", [{}, {"Plaintext": b""}, {"Plaintext": bytes(32)}, {"CiphertextBlob": b""}, {"KeyId": None}], ids=str
)
def test_an_answer_that_is_none_of_kms_seals_nothing(answer: dict[str, Any]) -> None:
    class Broken(MemoryKms):
        def generate_data_key(self, **arguments: Any) -> Any:
            return {**super().generate_data_key(**arguments), **answer} if answer else {}

    with pytest.raises(KeyServiceError):
        vod(Broken()).seal("x", **VOD_CELL)


FAILURES = {
    "AccessDeniedException": "denied",
    "ExpiredTokenException": "denied",
    "NotFoundException": "not_found",
    "DisabledException": "disabled",
    "KMSInvalidStateException": "pending_deletion",
    "ThrottlingException": "throttled",
    "KMSInternalException": "unavailable",
    "DependencyTimeoutException": "timeout",
    "ValidationException": "invalid_request",
}


@pytest.mark.parametrize(("code", "kind"), FAILURES.items())
def test_failures_of_the_key_service_are_distinguished_and_carry_no_text_of_it(code: str, kind: str) -> None:
    kms = MemoryKms()
    sealed = vod(kms).seal(CANARY, **VOD_CELL)
    kms.failure = KmsFailure(code)
    sealer = vod(kms)
    for call in (lambda: sealer.seal(CANARY, **VOD_CELL), lambda: sealer.open(sealed.text, **VOD_CELL)):
        with pytest.raises(KeyServiceError) as failed:
            call()
        assert failed.value.kind == kind
        assert CANARY not in "".join(traceback.format_exception(failed.value))
        assert failed.value.is_retryable == (kind in ("throttled", "unavailable", "timeout"))


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("code", ["OfALaterServiceException", ""])
def test_a_refusal_of_an_unknown_kind_is_denied(code: str, status: int) -> None:
    kms = MemoryKms()
    kms.failure = KmsFailure(code, status)
    with pytest.raises(KeyServiceError) as failed:
        vod(kms).seal("x", **VOD_CELL)
    assert failed.value.kind == "denied"


def test_a_field_of_a_profile_that_is_null_is_one_that_is_not_given() -> None:
    table = {"name": "t", "key": ["id"], "tokens": ["a"], "owner": None, "version": None, "types": None, "later": None}
    profile = Profile.from_dict({"name": "p", "context": {"a": "b"}, "tables": [table], "floor": None, "later": None})
    assert profile.floor == "any"


def test_the_cache_saves_calls_is_bounded_and_keeps_no_failure() -> None:
    kms = MemoryKms()
    sealer = vod(kms, cache_max=2)
    texts = [sealer.seal(str(number), **VOD_CELL).text for number in range(3)]
    kms.calls.clear()
    for _ in range(3):
        assert sealer.open(texts[0], **VOD_CELL) == "0"
    assert kms.calls == ["Decrypt"]
    for text in texts:
        sealer.open(text, **VOD_CELL)
    sealer.open(texts[0], **VOD_CELL)
    assert kms.calls == ["Decrypt"] * 4
    kms.failure = KmsFailure("ThrottlingException")
    assert sealer.open(texts[0], **VOD_CELL) == "0"
    with pytest.raises(KeyServiceError):
        sealer.open(texts[1], **VOD_CELL)
    kms.failure = None
    assert sealer.open(texts[1], **VOD_CELL) == "1"
    uncached = vod(kms, cache_ttl=0)
    kms.calls.clear()
    for _ in range(2):
        uncached.open(texts[0], **VOD_CELL)
    assert kms.calls == ["Decrypt", "Decrypt"]


def test_many_cold_readers_of_one_value_make_one_call() -> None:
    class Slow(MemoryKms):
        release = threading.Event()

        def decrypt(self, **arguments: Any) -> Any:
            self.release.wait(10)
            return super().decrypt(**arguments)

    kms = Slow()
    sealer = vod(kms)
    text = sealer.seal("x", **VOD_CELL).text
    results: list[str] = []
    readers = [threading.Thread(target=lambda: results.append(sealer.open(text, **VOD_CELL))) for _ in range(50)]
    for reader in readers:
        reader.start()
    kms.release.set()
    for reader in readers:
        reader.join()
    assert results == ["x"] * 50
    assert kms.calls.count("Decrypt") == 1


def test_no_error_carries_a_value_a_key_or_a_stored_text() -> None:
    def legacy(text: str, _: object) -> str:
        raise ValueError(text)

    sealer = crm(MemoryKms(), encryption_key=DIRECT_KEY, legacy=legacy)
    stored = sealer.seal(CANARY, **CRM_CELL).text
    broken = stored[:-4] + "AAAA"
    attempts: list[tuple[str | None, dict[str, Any]]] = [
        (broken, CRM_CELL),
        (CANARY, CRM_CELL),
        (CANARY, {**CRM_CELL, "version": 1}),
        (CANARY, {**CRM_CELL, "version": 2}),
        (CANARY, {**CRM_CELL, "row": {"id": CANARY}}),
        (CANARY, {**CRM_CELL, "owner": {"tenant_id": 5}}),
        ("\ud800" + CANARY, CRM_CELL),
        ("kms:v2:" + CANARY, CRM_CELL),
        ("kms:v3:" + CANARY, CRM_CELL),
    ]
    for text, cell in attempts:
        with pytest.raises(TokensealError) as failed:
            sealer.open(text, **cell)  # type: ignore[call-overload]
        shown = "".join(traceback.format_exception(failed.value))
        message = f"{failed.value} {failed.value!r} {failed.value.__cause__} "
        assert CANARY not in message
        assert broken not in shown
        assert failed.value.__suppress_context__ or failed.value.__context__ is None
    for value in ("x" * ((1 << 20) + 1), "\ud800", 5, None):
        with pytest.raises(Refused):
            sealer.seal(value, **CRM_CELL)  # type: ignore[arg-type]
    assert DIRECT_KEY not in repr(sealer) + repr(vars(sealer)["_cache"])


def test_a_megabyte_can_be_sealed() -> None:
    sealer = vod(MemoryKms())
    text = "x" * (1 << 20)
    assert sealer.open(sealer.seal(text, **VOD_CELL).text, **VOD_CELL, version=2) == text


def test_two_seals_of_a_value_differ_and_each_has_a_data_key_of_its_own() -> None:
    kms = MemoryKms()
    texts = {vod(kms).seal("x", table="oauth_tokens", column="access_token", row=VOD_ROW).text for _ in range(100)}
    assert len(texts) == 100
    assert kms.calls == ["GenerateDataKey"] * 100


def test_a_warm_cache_does_not_open_a_value_under_a_key_that_its_row_does_not_name() -> None:
    kms = MemoryKms()
    sealer = vod(kms, allowed_keys=[OTHER_ARN])
    text = sealer.seal(CANARY, **VOD_CELL).text
    assert sealer.open(text, **VOD_CELL, key_id=ARN) == CANARY
    with pytest.raises(KeyServiceError):
        sealer.open(text, **VOD_CELL, key_id=OTHER_ARN)


def test_a_value_that_does_not_commit_to_its_key_is_refused_although_its_tag_is_right() -> None:
    key = bytes(range(32))
    binding = Binding("t", "c", (), ())
    content_key, _ = _derive(key, AES_256_GCM, bytes(32))
    header = b"\x03\x04\x78\x00" + bytes(32) + bytes(32)
    payload = AESGCM(content_key).encrypt(
        bytes(12), b"x", b"tokenseal bound envelope v3\0" + header + binding.canonical()
    )
    with pytest.raises(NotAuthentic):
        EnvelopeV3(AES_256_GCM, header, b"\x00", payload).open(key, binding)
    _, commitment = _derive(key, AES_256_GCM, bytes(32))
    header = header[:36] + commitment
    payload = AESGCM(content_key).encrypt(
        bytes(12), b"x", b"tokenseal bound envelope v3\0" + header + binding.canonical()
    )
    assert EnvelopeV3(AES_256_GCM, header, b"\x00", payload).open(key, binding) == b"x"


def test_keys_of_the_built_in_profiles_have_types() -> None:
    upper = "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
    cells: list[tuple[str, str, dict[str, Any]]] = [
        ("vod-tender", "oauth_tokens", {"row": {"provider": "2026-01-01", "channel": "007"}}),
        ("pulseplan", "oauth_tokens", {"row": {"id": upper}, "owner": {"user_id": upper}}),
        *(
            ("autonomous", f"{name}_connection", {"row": {"id": "007"}})
            for name in ("gh", "jira", "slack", "confluence")
        ),
    ]
    for profile, table, names in cells:
        sealer = Sealer(MemoryKms(), ARN, profile)
        sealed = sealer.seal(CANARY, table=table, column="access_token", **names)
        assert sealer.open(sealed.text, table=table, column="access_token", **names) == CANARY


class Provider(str, enum.Enum):  # noqa: UP042 - as services have them
    TWITCH = "twitch"


class Named(str):
    def __str__(self) -> str:
        return "another name"


@pytest.mark.parametrize("name", [Provider.TWITCH, Named("twitch")])
def test_a_key_that_is_a_kind_of_text_is_its_own_text_in_every_place(name: str) -> None:
    sealer = vod(MemoryKms())
    sealed = sealer.seal(name, table="oauth_tokens", column="access_token", row={"provider": name, "channel": "me"})
    row = {"provider": "twitch", "channel": "me"}
    assert sealer.open(sealed.text, table="oauth_tokens", column="access_token", row=row, version=2) == "twitch"
    typed = {"name": "k", "key": ["id"], "tokens": ["t"]}
    for types in ({}, {"types": {"id": "text"}}):
        profile = Profile.from_dict({"name": "p", "context": {"A": "b"}, "tables": [{**typed, **types}]})
        keyed = Sealer(MemoryKms(), ARN, profile)
        for given in (name, FromDatabase(name)):
            text = keyed.seal("v", table="k", column="t", row={"id": given}).text
            assert keyed.open(text, table="k", column="t", row={"id": "twitch"}) == "v"


def test_no_error_holds_a_value_in_its_context() -> None:
    def fails(*_: object) -> str:
        raise ValueError(CANARY)

    def chain(call: Callable[[], object]) -> str:
        with pytest.raises(TokensealError) as failure:
            call()
        shown, error = [], failure.value
        while error is not None:
            shown.append(repr(error) + repr(getattr(error, "object", "")))
            error = error.__cause__ or error.__context__  # type: ignore[assignment]
        return " ".join(shown)

    kms = MemoryKms()
    sealer = Sealer(kms, ARN, "pulseplan", legacy=fails)
    cell: dict[str, Any] = {
        "table": "oauth_tokens",
        "column": "access_token",
        "row": {"id": "6f9619ff-8b86-d011-b42d-00cf4fc964ff"},
        "owner": {"user_id": "6f9619ff-8b86-d011-b42d-00cf4fc964ff"},
    }
    kms_fails = MemoryKms()
    kms_fails.failure = RuntimeError(CANARY)
    calls: list[Callable[[], object]] = [
        lambda: sealer.seal(CANARY + "\ud800", **cell),
        lambda: sealer.open(CANARY + "\ud800", **cell),
        lambda: sealer.open(CANARY, **cell),
        lambda: sealer.open("kms:v3:" + CANARY + "\u00e9", **cell),
        lambda: sealer.open("kms:v2:" + CANARY + ":\u00e9", **cell),
        lambda: vod(kms, encryption_key=CANARY + "\u00e9"),
        lambda: vod(kms_fails).seal("v", **VOD_CELL),
        lambda: Profile.from_json('{"name": "' + CANARY),
        lambda: Profile.from_toml("name = " + CANARY),
    ]
    for at, call in enumerate(calls):
        assert CANARY not in chain(call), at


SPACES = [*range(9, 14), *range(0x1C, 0x21), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F]
REFUSED_KEYS = [f"a{chr(space)}" for space in [*SPACES, 0x3000, 0xFEFF]] + ["9" * 19, "0" * 40, "-9223372036854775809"]


@pytest.mark.parametrize("key", REFUSED_KEYS, ids=ascii)
def test_a_key_without_a_type_that_may_have_two_spellings_is_refused(key: str) -> None:
    profile = {"name": "p", "context": {"A": "b"}, "tables": [{"name": "k", "key": ["id"], "tokens": ["t"]}]}
    with pytest.raises(Refused):
        Sealer(MemoryKms(), ARN, Profile.from_dict(profile)).seal("v", table="k", column="t", row={"id": key})
