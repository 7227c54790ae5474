"""Opens a page in headless Chromium and prints what it finds, as JSON: a list with one object for each screen.

    browser.py CHROMIUM PAGE [FOLDER]

Screens are a desktop's and a phone's, each light and dark. With FOLDER, a screenshot of each is written there. The browser
is driven by the Chrome DevTools Protocol over two pipes, so this needs nothing but Python.
"""

import base64
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

SCREENS = [("desktop", 1280, 800, False), ("phone", 390, 844, True)]
DEADLINE = 120

FACTS = r"""
(async () => {
  const images = [...document.images];
  const decoded = await Promise.allSettled(images.map(image => image.decode()));
  const rgb = text => {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return [r, g, b, a];
  };
  const over = (top, bottom, alpha) => [0, 1, 2].map(i => alpha * top[i] + (1 - alpha) * bottom[i]);
  const luminance = color => {
    const [r, g, b] = color.slice(0, 3).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = element => {
    for (; element; element = element.parentElement) {
      const color = rgb(getComputedStyle(element).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const fill = element => rgb(getComputedStyle(element).fill);
  // Numbers of a matrix stand on their cell, which lets what is below shine through.
  const cell = text => {
    const rect = text.previousElementSibling;
    const alpha = Number(rect.getAttribute("fill-opacity") ?? 1);
    return rect.matches(".heat") ? over(fill(rect), fill(rect.previousElementSibling), alpha) : fill(rect);
  };
  let texts = 0, weakest = { ratio: Infinity }, smallest = Infinity, clipped = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    const size = element.getBoundingClientRect();
    if (!own || !size.width || element.matches("title")) continue;
    const inSvg = element.matches("svg text");
    const ink = inSvg ? fill(element) : rgb(getComputedStyle(element).color);
    const paper = element.matches("svg .ink") ? cell(element) : ground(element);
    const ratio = contrast(ink, paper);
    texts += 1;
    if (ratio < weakest.ratio) weakest = { ratio, text: element.textContent.trim() };
    const scale = inSvg ? element.ownerSVGElement.getScreenCTM().a : 1;
    smallest = Math.min(smallest, parseFloat(getComputedStyle(element).fontSize) * scale);
    if (inSvg) {
      const box = element.ownerSVGElement.getBoundingClientRect();
      if (size.left < box.left - 1 || size.right > box.right + 1 || size.bottom > box.bottom + 1) {
        clipped.push(element.textContent);
      }
    }
  }
  return {
    width: innerWidth,
    scrollWidth: document.documentElement.scrollWidth,
    images: images.length,
    broken: images.filter((image, i) => decoded[i].status === "rejected" || !image.naturalWidth).map(image => image.alt),
    withoutAlt: images.filter(image => !image.alt).length,
    plots: [...document.querySelectorAll("svg")].map(svg => svg.getAttribute("aria-label")),
    headings: [...document.querySelectorAll("h1, h2")].map(heading => heading.textContent),
    sections: [...document.querySelectorAll("nav a")].map(a => document.querySelector(a.getAttribute("href")) !== null),
    paper: luminance(ground(document.body)),
    texts, weakest, smallest, clipped,
  };
})()
"""


class Browser:
    """Chromium, and the messages it sends."""

    def __init__(self, program, profile):
        to_read, self.to_browser = os.pipe()
        self.from_browser, to_write = os.pipe()
        arguments = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--no-first-run", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        # The browser expects its pipes at 3 and 4.
        line = f"exec {shlex.join(arguments)} 3<&{to_read} 4>&{to_write}"
        self.process = subprocess.Popen(["timeout", str(DEADLINE), "bash", "-c", line], pass_fds=(to_read, to_write),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.close(to_read)
        os.close(to_write)
        self.rest, self.number, self.session, self.events = b"", 0, None, []

    def receive(self):
        while b"\0" not in self.rest:
            block = os.read(self.from_browser, 1 << 20)
            if not block:
                sys.exit("the browser ended: " + self.process.stderr.read().decode(errors="replace")[-2000:])
            self.rest += block
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            sys.exit(f"{method}: {answer['error']}")
        return answer["result"]

    def wait(self, method):
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self.receive())

    def open(self, page):
        self.session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.events = []
        self.page = page


def complaints(events):
    """What the browser's console would show."""
    for event in events:
        parameters = event.get("params", {})
        if event.get("method") == "Log.entryAdded":
            yield parameters["entry"]["text"]
        elif event.get("method") == "Runtime.exceptionThrown":
            yield parameters["exceptionDetails"]["text"]
        elif event.get("method") == "Runtime.consoleAPICalled":
            yield f"console.{parameters['type']}"


def main():
    program, page, folder = sys.argv[1], Path(sys.argv[2]).resolve().as_uri(), (sys.argv[3:] or [None])[0]
    found = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        for name, width, height, mobile in SCREENS:
            for scheme in ("light", "dark"):
                browser.open(page)
                browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, mobile=mobile,
                             deviceScaleFactor=2 if mobile else 1)
                browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                browser.call("Page.navigate", url=page)
                browser.wait("Page.loadEventFired")
                facts = browser.call("Runtime.evaluate", expression=FACTS, awaitPromise=True, returnByValue=True)
                if "exceptionDetails" in facts:
                    sys.exit(str(facts["exceptionDetails"]))
                requests = [event["params"]["request"]["url"] for event in browser.events
                            if event.get("method") == "Network.requestWillBeSent"]
                found.append({
                    "screen": name, "scheme": scheme, **facts["result"]["value"],
                    "requests": [url[:200] for url in requests if not url.startswith("data:") and url != page],
                    "documents": requests.count(page),
                    "complaints": list(complaints(browser.events)),
                })
                if folder:
                    shot = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
                    Path(folder, f"{name}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
        browser.session = None
        browser.call("Browser.close")
        browser.process.wait()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
