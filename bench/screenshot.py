"""Pictures of the page that ``report --html`` writes, by a headless browser.

``python -m bench.screenshot PAGE.html FOLDER`` needs Chromium or Chrome and the package playwright
(``pip install -e '.[dev]'``). Those in docs/ were made by::

    mnistbench report bench/results/convergence/runs --html report.html
    python -m bench.screenshot report.html docs
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class _View(NamedTuple):
    """A window onto the page: its size, its colours, what was chosen, and what is pointed at."""

    width: int
    height: int
    dark: bool = False
    chosen: str = ""
    pointed_at: str = ""


_VIEWS = {
    "desktop": _View(1280, 1500),
    "phone": _View(390, 1500),
    "dark": _View(1280, 1300, dark=True, chosen="#curves"),
    "filtered": _View(
        1280,
        1300,
        chosen="#time&filter=simple-cnn&sort=time:down:steps",
        pointed_at="table[data-table='time'] tbody tr:visible >> nth=2",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Take the pictures; exit status 1 where there is no browser."""
    parser = argparse.ArgumentParser(prog="python -m bench.screenshot")
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path, help="gets page-VIEW.png for each view")
    flags = parser.parse_args(argv)
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        print(f"screenshot: no browser; install one of {', '.join(_BROWSERS)}")
        return 1
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, view in _VIEWS.items():
            page = started.new_page(
                viewport={"width": view.width, "height": view.height},
                color_scheme="dark" if view.dark else "light",
                reduced_motion="reduce",
            )
            page.goto(flags.page.absolute().as_uri() + view.chosen)
            if view.pointed_at:
                page.hover(view.pointed_at)
            page.wait_for_timeout(500)  # for what fades in
            picture = flags.folder / f"page-{name}.png"
            page.screenshot(path=picture)
            _reduce(picture)
        started.close()
    return 0


def _reduce(picture: Path) -> None:
    """Write `picture` in 256 colours, which a page has no more of, in a third of the bytes."""
    from PIL import Image

    with Image.open(picture) as shown:
        rgb = shown.convert("RGB")
        few = rgb.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


if __name__ == "__main__":
    raise SystemExit(main())
