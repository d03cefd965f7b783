"""Texts without the secrets that addresses and headers may hold. Pure."""

import re

_SECRETS = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^\s/?#@]*@", re.IGNORECASE), r"\1***@"),
    (
        re.compile(r"([?&](?:[\w-]{0,60}(?:token|key|password|secret|signature)))=[^&\s\"'<>]+", re.IGNORECASE),
        r"\1=***",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]+"), r"\1 ***"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), "whsec_***"),
    (re.compile(r"\b(password)=\S+", re.IGNORECASE), r"\1=***"),
)


def masked(text: str) -> str:
    """Logins, tokens, keys and secrets as ``***``."""
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text
