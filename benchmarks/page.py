"""How large pages are and how fast they load: python benchmarks/page.py reports/*/report.html

Opens each page from disk in Chromium, as often as --times says and each time with an empty cache,
and prints a row of a Markdown table for it: its size, its network requests, and the median times to
the first paint, to the complete page, and from pressing play to the first sound.  A page without a
player has no last column.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

# Of the document, in ms since it was asked for.
_TIMES = """() => [
    performance.getEntriesByName("first-contentful-paint")[0].startTime,
    performance.getEntriesByType("navigation")[0].loadEventEnd,
]"""
# The first press decodes the signals; a player says "Pause" when they are sounding.
_PLAY = """async button => {
    const begun = performance.now();
    button.click();
    while (button.textContent !== "Pause") await new Promise(requestAnimationFrame);
    return performance.now() - begun;
}"""


def opened(browser: Browser, page: Path) -> dict[str, Any]:
    """What one opening of `page` took: ``first``, ``complete``, ``sound`` (ms), ``asked``."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    tab = context.new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.absolute().as_uri(), wait_until="load")
    tab.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    first, complete = tab.evaluate(_TIMES)
    button = tab.locator(".player button").first
    sound = button.evaluate(_PLAY) if button.count() else None
    context.close()
    outside = sum(url.split(":")[0] not in ("file", "data", "blob") for url in asked)
    return {"first": first, "complete": complete, "sound": sound, "asked": outside}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    print("| page | MB | requests | first picture | complete | play to sound |")
    print("|---|---|---|---|---|---|")
    with sync_playwright() as tool:
        installed = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = tool.chromium.launch(
            executable_path=installed,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        for page in options.pages:
            runs = [opened(browser, page) for _ in range(options.times)]
            columns = [f"{page}", f"{page.stat().st_size / 1e6:.1f}", str(runs[0]["asked"])]
            for name in ("first", "complete", "sound"):
                took = [run[name] for run in runs if run[name] is not None]
                columns.append(f"{statistics.median(took) / 1000:.2f} s" if took else "–")
            print(f"| {' | '.join(columns)} |")
        browser.close()


if __name__ == "__main__":
    main()
