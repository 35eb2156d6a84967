"""A picture of the page that ``report --html`` writes, by a headless browser.

``python -m bench.screenshot PAGE.html PICTURE.png`` needs Chromium or Chrome and the package
playwright (``pip install -e '.[dev]'``). The one in the README was made by::

    mnistbench report bench/results/convergence/runs --html report.html
    python -m bench.screenshot report.html bench/results/convergence/report-html.png
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def main(argv: Sequence[str] | None = None) -> int:
    """Take the picture; exit status 1 where there is no browser."""
    parser = argparse.ArgumentParser(prog="python -m bench.screenshot")
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=2200, help="shown from the top of the page")
    parser.add_argument("--dark", action="store_true")
    flags = parser.parse_args(argv)
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        print(f"screenshot: no browser; install one of {', '.join(_BROWSERS)}")
        return 1
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = started.new_page(
            viewport={"width": flags.width, "height": flags.height},
            color_scheme="dark" if flags.dark else "light",
        )
        page.goto(flags.page.absolute().as_uri())
        page.screenshot(path=flags.picture)
        started.close()
    _reduce(flags.picture)
    return 0


def _reduce(picture: Path) -> None:
    """Write `picture` in 128 colours, which a page has no more of, in a third of the bytes."""
    from PIL import Image

    with Image.open(picture) as shown:
        few = shown.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


if __name__ == "__main__":
    raise SystemExit(main())
