"""URLs of files, and keeping credentials out of everything that a run writes."""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, urlsplit

from vim_deploy.errors import ConfigError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Parameters of signed URLs of AWS, Google and Azure, and names that others use for the same.
_SECRET_PARAMETERS = re.compile(
    r"(?i)x-(amz|goog)-.*|aws.*|googleaccessid|sig|signature|.*token|.*key|.*secret"
)
_SECRET_VARIABLES = re.compile(r"(?i).*(secret|token|password|credential|access_?key).*")
_MIN_SECRET = 8  # characters; shorter values would hide ordinary words


def is_url(text: str) -> bool:
    return _URL.match(text) is not None


def has_credentials(url: str) -> bool:
    """Whether a URL has a user name, a password or the parameters of a signature."""
    try:
        parts = urlsplit(url)
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:  # not a valid URL; what is before an @ may be a password
        return "@" in url
    return "@" in parts.netloc or any(map(_SECRET_PARAMETERS.fullmatch, names))


def without_credentials(url: str) -> str:
    """The URL with `***` for user name, password and parameters, if it has credentials."""
    if not has_credentials(url):
        return url
    scheme, _, rest = url.partition("://")
    place, query, _ = rest.partition("?")
    server, slash, path = place.partition("/")
    user, at, host = server.rpartition("@")
    return f"{scheme}://{'***' if user else ''}{at}{host}{slash}{path}{'?token=***' if query else ''}"


def check_url(url: str) -> str:
    """The URL. Raises ConfigError for one with credentials, which rows, logs and reports would contain."""
    if has_credentials(url):
        raise ConfigError(
            f"{without_credentials(url)} was given with credentials in the URL, which results and reports "
            "would show; leave them out and set them in the environment, for example AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        )
    return url


def reason_of(error: BaseException) -> str:
    """An error of fsspec on one line, without values of environment variables that are credentials."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    text = " ".join(f"{type(error).__name__}: {error}".split())
    for name, value in os.environ.items():
        if len(value) >= _MIN_SECRET and _SECRET_VARIABLES.fullmatch(name):
            text = text.replace(value, "***")
    return text[:200].rstrip(": ")
