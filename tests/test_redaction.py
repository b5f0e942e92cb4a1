"""Credentials go, whatever they stand in; what only looks a little like one stays."""

from __future__ import annotations

import pytest

from paramalloc.redaction import REDACTED, redact, secret_values

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"AKIA{'A1' * 8}", f"AKIA{'A1' * 8}"),
        ("aws_secret_access_key = abc/def+ghi123", "abc/def+ghi123"),
        ('{"AWS_SESSION_TOKEN": "xyz/123=="}', "xyz/123=="),
        (f"+HF_TOKEN=hf_{LETTERS}", f"hf_{LETTERS}"),
        (f"clone https://ada:{LETTERS}@example.org/x.git", LETTERS),
        (f"https://{LETTERS}@example.org", LETTERS),
        (f"remote: ghp_{LETTERS}", f"ghp_{LETTERS}"),
        ("export WANDB_API_KEY='0123456789abcdef'", "0123456789abcdef"),
        ("Authorization: Bearer abc.def-ghi_jkl", "abc.def-ghi_jkl"),
        ("db.password: hunter2hunter2", "hunter2hunter2"),
        ("CI_TOKEN=0011223344", "0011223344"),
        ("-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----", "abc\ndef"),
    ],
)
def test_a_credential_goes_and_the_text_around_it_stays(text: str, secret: str) -> None:
    clean = redact(f"before\n{text}\nafter")
    assert secret not in clean
    assert REDACTED in clean
    assert clean.startswith("before\n")
    assert clean.endswith("\nafter")


@pytest.mark.parametrize(
    "text",
    [
        '"flops_per_token": 1596048, "tokens": 400384, "bytes_per_token": 2.78',
        '"tokenizer_hash": "8810a9cc15fd2423259444a72ea4c6fac06b9ad918c4c81fe759c530793d9545"',
        "git_sha: 0123456789abcdef0123456789abcdef01234567-dirty",
        "see https://example.org/a@b and http://localhost:8265/a@b for the token budget",
        'api_key: null, "secret": true',
        "wandb_project: paramalloc",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redact(text) == text


def test_values_of_credential_variables_go_wherever_they_stand() -> None:
    environment = {
        "WANDB_API_KEY": "plain-words-only",
        "HF_TOKEN": "another-value",
        "HOME": "/home/ada",
        "MY_PAT": "x",
    }
    secrets = secret_values(environment)
    assert secrets == {"plain-words-only", "another-value"}
    assert redact("a plain-words-only b /home/ada x", secrets) == f"a {REDACTED} b /home/ada x"
