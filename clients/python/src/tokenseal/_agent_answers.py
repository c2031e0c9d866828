"""Answers of the agent, as values or errors. One without the members that its route has is no answer of the agent."""

from __future__ import annotations

import re
from typing import Any

from ._errors import AgentError

Json = dict[str, Any]

_STATUS_OF_CLASS = {"malformed": 400, "policy": 403, "not_found": 404, "too_many": 429}


def row(answer: Json) -> Json:
    """A row with its tokens, its plain columns and its revision."""
    tokens = answer.get("tokens")
    has_tokens = isinstance(tokens, dict) and all(isinstance(token, str | None) for token in tokens.values())
    if not has_tokens or not isinstance(answer.get("plain"), dict):
        raise not_an_answer()
    return texts(answer, "revision")


def texts(answer: Json, *names: str) -> Json:
    """An answer with these texts, none of them empty: an empty revision or lease would be no condition."""
    if not all(isinstance(answer.get(name), str) and answer[name] for name in names):
        raise not_an_answer()
    return answer


def saying(answer: Json, name: str, choices: tuple[bool, ...]) -> Json:
    """An answer that says yes or no, as far as its route has both."""
    if not any(answer.get(name) is choice for choice in choices):
        raise not_an_answer()
    return answer


def item(given: Json, *, is_sealed: bool) -> Json:
    """An item with an error, or with its value or text. Under a wrong version a sealed value would be lost."""
    version, method = given.get("encryption_version"), given.get("encryption_method", 0)
    says_how = isinstance(version, int) and not isinstance(version, bool) and isinstance(method, str | None)
    is_whole = isinstance(given.get("text" if is_sealed else "value"), str) and (says_how or not is_sealed)
    if not isinstance(given.get("error"), dict) and not is_whole:
        raise not_an_answer()
    return given


def text(given: Json, name: str) -> str:
    """The text of an answer or of an item, or the item's error."""
    if isinstance(given.get("error"), dict):
        raise error(_item_status(given["error"]), given, None)
    value = given.get(name)
    if not isinstance(value, str):
        raise not_an_answer()
    return value


def error(status: int, answer: Json, retry_after: str | None) -> AgentError:
    """The error of an answer, without any text that is not the agent's."""
    given = answer.get("error")
    details: Json = given if isinstance(given, dict) else {}

    def word(name: str) -> str | None:
        value = details.get(name)
        return value if isinstance(value, str) else None

    seconds = float(retry_after) if retry_after is not None and re.fullmatch(r"[0-9]{1,6}", retry_after) else None
    return AgentError(
        status,
        word("class") or "unexpected",
        word("message") or f"the agent answered with status {status}",
        hint=word("hint"),
        correlation_id=word("correlation_id"),
        retry_after=seconds,
        needs_consent=answer.get("needs_consent") is True or details.get("needs_consent") is True,
        expires=answer["expires"] if isinstance(answer.get("expires"), str) else None,
    )


def not_an_answer() -> AgentError:
    """The error of an answer that is none of the agent."""
    return AgentError(0, "unexpected", "the answer is not one of the agent")


def _item_status(given: Json) -> int:
    """The status of an item's error; agents before this version send no status; it follows from the class."""
    status = given.get("status")
    if isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599:
        return status
    return _STATUS_OF_CLASS.get(str(given.get("class")), 422)
