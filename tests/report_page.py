"""Reads the data of a report."""

from __future__ import annotations

import json
import re
from typing import Any


def data_in(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    return json.loads(match.group(1))
