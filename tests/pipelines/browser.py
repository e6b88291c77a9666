"""A headless Chromium without a network, for tests of pages; skipped where there is none, unless it is required."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars", "--proxy-server=http://127.0.0.1:9",
)  # fmt: skip


@contextmanager
def open_browser(profile: Path) -> Iterator["Browser"]:
    """A browser with a fresh profile in the folder `profile`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        if "chromium" in os.environ.get("REELWRIGHT_REQUIRE", ""):
            pytest.fail("REELWRIGHT_REQUIRE names chromium, but chromium and chromedriver are not both installed")
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Browser(chrome)
    finally:
        chrome.quit()


class Browser:
    """A page in a window of a given size."""

    def __init__(self, chrome) -> None:
        self._chrome = chrome

    def open(self, page: Path, *, width: int = 1440, height: int = 900, scheme: str = "light", media: str = "") -> None:
        """Open a file in a window; `scheme` light or dark, `media` print or none."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        self.errors()
        self._chrome.get(page.as_uri())

    def run(self, script: str, *arguments):
        """What a function body returns in the page."""
        return self._chrome.execute_script(script, *arguments)

    def errors(self) -> list[str]:
        """What the console said since the last call."""
        return [entry["message"] for entry in self._chrome.get_log("browser")]

    def choose(self, form: str, key: str, value: str) -> None:
        """Choose a value of a filter."""
        self.run(
            """const select = document.querySelector(`[data-filters=${arguments[0]}] [data-key=${arguments[1]}]`);
               if (![...select.options].some((option) => option.value === arguments[2])) throw Error("no such choice");
               select.value = arguments[2];
               select.dispatchEvent(new Event("input", {bubbles: true}));""",
            form, key, value,
        )  # fmt: skip

    def type(self, form: str, text: str) -> None:
        """Type into the search field of a form, as a person does."""
        field = self._chrome.find_element("css selector", f"[data-filters={form}] input")
        field.clear()
        field.send_keys(text)

    def click(self, selector: str) -> None:
        self._chrome.find_element("css selector", selector).click()
