"""Makes index.json: blind indexes, computed with Python's standard library alone.

python3 index_reference.py > index.json
"""

import hashlib
import hmac
import json
import unicodedata

DOMAIN = b"tokenseal index v1\0"
LABELS = {name: f"{name}/1" for name in ["none", "lowercase-trim", "email", "e164", "digits"]}


def hkdf_sha512(key: bytes, info: bytes) -> bytes:
    extracted = hmac.new(bytes(64), key, hashlib.sha512).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha512).digest()[:32]


def nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def lowercase_trim(text: str) -> str:
    return nfkc("".join(c.lower() for c in nfkc(text))).strip()


def email(text: str) -> str:
    text = lowercase_trim(text)
    local, at, domain = text.rpartition("@")
    if not at:
        return text
    domain = domain.removesuffix(".")
    try:
        return f"{local}@{domain.encode('idna').decode()}"
    except UnicodeError:
        return f"{local}@{domain}"


def digits(text: str) -> str:
    return "".join(c for c in nfkc(text) if c in "0123456789")


def e164(text: str) -> str:
    plain = nfkc(text)
    start = next((n for n, c in enumerate(plain) if c in "+0123456789"), len(plain))
    number = plain[start:]
    rest = number[1:] if number.startswith("+") else number[2:] if number.startswith("00") else None
    if rest is not None and any(c in "0123456789" for c in rest):
        return "+" + "".join(c for c in rest.replace("(0)", "", 1) if c in "0123456789")
    return digits(plain)


NORMALIZE = {"none": str, "lowercase-trim": lowercase_trim, "email": email, "e164": e164, "digits": digits}


def index(key, profile, table, column, number, normalize, bits, value):
    normalized = NORMALIZE[normalize](value)
    if not normalized:
        return normalized, None
    names = b"".join(
        len(name.encode()).to_bytes(2, "big") + name.encode() for name in [profile, table, column, LABELS[normalize]]
    )
    own = hkdf_sha512(key, b"tokenseal purpose v1\0index")
    full = hmac.new(own, DOMAIN + names + normalized.encode(), hashlib.sha256).digest()
    kept = bytearray(full[: (bits + 7) // 8])
    kept[-1] &= (0xFF << ((8 - bits % 8) % 8)) & 0xFF
    return normalized, f"k{number}:{kept.hex()}"


CASES = [
    ("none", "Ada@Example.org"),
    ("none", " "),
    ("none", ""),
    ("lowercase-trim", "  ADA@Example.ORG\t"),
    ("lowercase-trim", "ada@example.org"),
    ("lowercase-trim", "Ａｄａ"),
    ("lowercase-trim", "Stra\u00dfe \u1e9e"),
    ("lowercase-trim", "\u039f\u0394\u039f\u03a3"),
    ("lowercase-trim", "\u0130stanbul"),
    ("lowercase-trim", "e\u0301"),
    ("lowercase-trim", "\u00c9"),
    ("lowercase-trim", " \u00a0\u3000"),
    ("email", " Ada.Lovelace+x@Example.ORG. "),
    ("email", "ada.lovelace+x@example.org"),
    ("email", "ada@B\u00dcCHER.example"),
    ("email", "ada@xn--bcher-kva.example"),
    ("email", "\"a@b\"@example.org"),
    ("email", "no address"),
    ("e164", "+49 (0)30 1234-567"),
    ("e164", "0049 30 1234567"),
    ("e164", "tel: +49301234567"),
    ("e164", "030/1234567"),
    ("e164", "\uff0b\uff14\uff19 30 1234567"),
    ("e164", "+"),
    ("e164", "none"),
    ("digits", "DE89 3704 0044 0532 0130 00"),
    ("digits", "\uff11\uff12\uff13"),
    ("digits", "x"),
]
KEY = bytes(range(32))
SCOPES = [("crm", "users", "email"), ("crm", "users", "mail"), ("crm", "leads", "email"), ("shop", "users", "email")]


def vector(scope, number, normalize, bits, value):
    profile, table, column = scope
    normalized, text = index(KEY, profile, table, column, number, normalize, bits, value)
    return {
        "profile": profile,
        "table": table,
        "column": column,
        "number": number,
        "normalize": normalize,
        "bits": bits,
        "value": value,
        "normalized": normalized,
        "index": text,
    }


vectors = [vector(SCOPES[0], 1, normalize, 256, value) for normalize, value in CASES]
vectors += [vector(scope, 1, "email", 256, "ada@example.org") for scope in SCOPES]
vectors += [vector(SCOPES[0], 2, "email", bits, "ada@example.org") for bits in [8, 9, 12, 15, 16, 63, 128, 255]]
about = (
    "Blind indexes under the data key of the bytes 0 to 31: what each value normalises to, and its index; null where it "
    "has none. Made by index_reference.py."
)
print(json.dumps({"about": about, "data_key": KEY.hex(), "vectors": vectors}, indent=1))
