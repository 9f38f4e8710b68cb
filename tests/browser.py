"""A headless Chromium, controlled over its DevTools pipe: pages of any width, their errors and requests."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

EXECUTABLE = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--remote-debugging-pipe", "about:blank",
)  # fmt: skip
_HEIGHT = 900


class Browser:
    """A context manager. `folder`: an empty folder for the profile."""

    def __init__(self, folder: Path) -> None:
        assert EXECUTABLE is not None
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        # Chromium reads commands from descriptor 3 and writes replies to descriptor 4.
        command = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["bash", "-c", command, EXECUTABLE, f"--user-data-dir={folder}", *_OPTIONS],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(folder)},
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer, self._number, self.events = b"", 0, list[dict[str, Any]]()
        self._session: str | None = None
        targets = self._send("Target.getTargets")["targetInfos"]
        target = next(item["targetId"] for item in targets if item["type"] == "page")
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def open(self, page: Path, width: int) -> None:
        """Load a file at this width in CSS pixels."""
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=_HEIGHT,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events.clear()
        self._send("Page.navigate", url=page.resolve().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._receive()

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, as plain JSON."""
        result = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def screenshot(self, path: Path, whole_page: bool = True) -> None:
        found = self._send("Page.captureScreenshot", captureBeyondViewport=whole_page)
        path.write_bytes(base64.b64decode(found["data"]))

    def problems(self) -> list[Any]:
        """Errors and warnings of the console, uncaught exceptions, and requests besides the page itself."""
        found: list[Any] = []
        for event in self.events:
            method, values = event["method"], event["params"]
            if method in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                found.append(values)
            elif method == "Network.requestWillBeSent":
                url = values["request"]["url"]
                if not url.startswith("data:") and values["type"] != "Document":
                    found.append(url)
        return found

    def overflowing(self) -> list[str]:
        """Elements that reach beyond the right edge of the page, except inside boxes that scroll."""
        elements: list[str] = self.evaluate(_OVERFLOWING)
        return elements

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (reply := self._receive()).get("id") != self._number:
            pass
        assert "error" not in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._from, 1 << 20)
            assert data, "the browser ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message


_OVERFLOWING = """
(() => {
  const page = document.documentElement, width = page.clientWidth, found = [];
  const boxed = element => ["auto", "scroll", "hidden"].includes(getComputedStyle(element).overflowX);
  const scrolls = element => element && (boxed(element) || scrolls(element.parentElement));
  if (page.scrollWidth > width) found.push("page: " + page.scrollWidth);
  for (const element of document.body.querySelectorAll("*"))
    if (element.getBoundingClientRect().right > width + 0.5 && !scrolls(element.parentElement))
      found.push(element.tagName + "." + element.className + ": " + element.textContent.slice(0, 60));
  return found;
})()
"""
