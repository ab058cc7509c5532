"""A headless Chromium, driven by its DevTools protocol over two pipes.

https://chromedevtools.github.io/devtools-protocol/: nothing is installed for
it, and no port is opened.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Seconds until a page that does not answer fails a test.
_PATIENCE = 120
# The browser reads commands from 3 and writes answers to 4. A function between
# fork and exec would place them as well, but JAX warns of forks.
_PLACE = """
import os, sys
for place, fd in ((3, sys.argv[1]), (4, sys.argv[2])):
    os.dup2(int(fd), place)
os.execv(sys.argv[3], sys.argv[3:])
"""

KEYS = {
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "End": 35,
    "Home": 36,
    "Tab": 9,
    "Escape": 27,
}


def path():
    """Returns the path of a Chromium, or None where there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """One page of one browser. What it says beside answers is kept."""

    def __init__(self):
        self._profile = tempfile.mkdtemp()
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        # Above 4 neither is in the way of the other's new place.
        ends = [
            fcntl.fcntl(fd, fcntl.F_DUPFD, 10)
            for fd in (to_browser, from_browser)
        ]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-ISc",
                _PLACE,
                *map(str, ends),
                path(),
                "--headless=new",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-extensions",
                "--disable-background-networking",
                "--disable-component-update",
                f"--user-data-dir={self._profile}",
                "about:blank",
            ],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (to_browser, from_browser, *ends):
            os.close(fd)
        self._rest, self._number, self._session = b"", 0, None
        self.events = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        found = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        """Ends the browser."""
        os.close(self._write)
        os.close(self._read)
        self._process.terminate()
        self._process.wait(_PATIENCE)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method, **parameters):
        """Returns the answer to a command."""
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": parameters,
        }
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression):
        """Returns the value of JavaScript, awaited."""
        found = self.call(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def open(self, url, ready="true"):
        """Opens a page and waits until an expression holds on it."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        ends = time.monotonic() + _PATIENCE
        while not self.evaluate(
            f"document.readyState === 'complete' && ({ready})"
        ):
            if time.monotonic() > ends:
                raise TimeoutError(f"{url} is not ready: {self.complaints()}")
            time.sleep(0.02)

    def press(self, *keys):
        """Presses keys one after another."""
        for key in keys:
            for kind in ("keyDown", "keyUp"):
                self.call(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key=key,
                    code=key,
                    windowsVirtualKeyCode=KEYS[key],
                )

    def point(self, x, y, kind="mouseMoved"):
        """Moves the pointer."""
        pressed = {} if kind == "mouseMoved" else {"button": "left"}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def look(self, width, height=900, scheme="light"):
        """Sets the size of the window and the colours that are preferred."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )

    def complaints(self):
        """Returns what the console and the browser complained of."""
        return [
            json.dumps(event)
            for event in self.events
            if event.get("method")
            in (
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
                "Page.javascriptDialogOpening",
            )
        ]

    def requests(self):
        """Returns the addresses that were asked for."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]

    def _next(self):
        while b"\0" not in self._rest:
            more = os.read(self._read, 1 << 20)
            if not more:
                raise RuntimeError("the browser has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
