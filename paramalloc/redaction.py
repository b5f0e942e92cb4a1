"""Taking credentials out of text before it is kept or handed on.

Always holds: a value is replaced, never the line around it, so that the text stays readable; what is known to be
secret here (the values of this process's credential variables) goes wherever it stands, the rest by its shape.

    redact("WANDB_API_KEY=0123...", secret_values(os.environ))     # "WANDB_API_KEY=[redacted]"
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

REDACTED = "[redacted]"
_SHORTEST_SECRET = 8  # letters; shorter values of a credential variable stand in too many innocent places
_SECRET_NAME = (
    r"(?:api_?key|access_?key(?:_?id)?|secret|secret_?key|password|passwd|passphrase|private_?key|credentials?"
    r"|(?:auth|access|api|session|bearer|refresh|security|hf|github|gitlab|bot|user)_?token)"
)
_SECRET_VARIABLE = re.compile(rf"{_SECRET_NAME}$|_(?:token|pat)$|^(?:token|pat)$", re.IGNORECASE)
_SHAPES = (
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),  # AWS access key ids
    re.compile(r"\bhf_[A-Za-z0-9]{20,}\b"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}\b|\bgithub_pat_[A-Za-z0-9_]{30,}\b"),
    re.compile(r"\b(?:sk|rk)-[A-Za-z0-9_-]{20,}\b"),
    re.compile(r"\bxox[a-z]-[A-Za-z0-9-]{10,}\b"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\b"),  # JSON web tokens
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
)
_BEARER = re.compile(r"(\bBearer\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
# `name:secret@` or `secret@` before the host; what follows a port is no secret.
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)(?:[^/\s:@]*:(?!\d+/)[^\s@]+|[^/\s:@]+)@", re.IGNORECASE)
_VALUE = r"""["']?\s*[:=]\s*["']?)([^\s"',}\]]{4,})"""
_ASSIGNED = (
    re.compile(rf"(\b[\w.-]*{_SECRET_NAME}{_VALUE}", re.IGNORECASE),
    re.compile(rf"(\b[A-Z0-9_]*_TOKEN{_VALUE}"),  # in capitals only: `flops_per_token: 6` is none
)


def secret_values(environment: Mapping[str, str]) -> frozenset[str]:
    """The values of those variables whose names say that they are credentials."""
    return frozenset(
        value
        for name, value in environment.items()
        if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST_SECRET
    )


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """The text with `[redacted]` in place of each of `secrets` and of what looks like a credential."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    for shape in _SHAPES:
        text = shape.sub(REDACTED, text)
    text = _IN_URL.sub(rf"\g<1>{REDACTED}@", text)
    text = _BEARER.sub(rf"\g<1>{REDACTED}", text)
    for assignment in _ASSIGNED:
        text = assignment.sub(_without_value, text)
    return text


def _without_value(found: re.Match[str]) -> str:
    harmless = found[2] in ("null", "None", "true", "false", REDACTED)
    return found[0] if harmless else f"{found[1]}{REDACTED}"
