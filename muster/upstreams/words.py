"""Words of others, made fit for our own sentences: short, on one line, and without anything that looks like a key."""

import re
from typing import Final

MOST: Final = 300  # letters of a vendor's message that are kept
HIDDEN: Final = "[redacted]"
_KEPT: Final = rf"\1{HIDDEN}"  # what stands before the secret stays
_SECRETS: Final = (  # how keys of the services we know begin, and the places where any key may stand
    (re.compile(r"\b((?:bearer|basic)\s+)[^\s\"',;]+", re.IGNORECASE), _KEPT),
    (re.compile(r"\b()(?:sk|pk|rk|gsk|xai|pplx|tvly|ghp)[-_.][\w*.…-]{4,}"), _KEPT),
    (re.compile(r"\b()pat\w{14}\.\w{8,}"), _KEPT),
    (re.compile(r"()apify_(?:api|proxy)_\w+"), _KEPT),
    (re.compile(r"()AIza[\w*-]+"), _KEPT),
    (re.compile(r"(://)[^/\s@]*@"), rf"\1{HIDDEN}@"),  # userinfo of a URL
    (re.compile(r"((?:key|token|secret|password|signature|\bsig)=)[^&\s\"']+", re.IGNORECASE), _KEPT),
)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]+")
_SPACES: Final = re.compile(r"\s+")


def redact(text: str) -> str:
    """The text with everything that looks like a key, a password or a token replaced by `[redacted]`."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def clean(text: str, most: int = MOST) -> str:
    """The text on one line, without control characters and secrets, of at most `most` letters."""
    line = _SPACES.sub(" ", _UNPRINTABLE.sub(" ", text[: 20 * most])).strip()
    line = redact(line)
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def sentence(start: str, text: str) -> str:
    """`start: text.`, where the text is cleaned and ends as a sentence does; without a text `start.`."""
    said = clean(text)
    if not said:
        return f"{start}."
    return f"{start}: {said}" if said[-1] in ".!?…" else f"{start}: {said}."
