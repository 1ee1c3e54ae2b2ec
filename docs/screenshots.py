"""Takes the pictures of docs/images from the demo's data: overview, incident, trace and cost, light and dark.

The overview and the incident besides as those see them who have forced colours, read at 200 %, or print; none of the
pictures moves, for motion is reduced. They are looked at before each release.

    .venv/bin/pip install --group pictures
    .venv/bin/python docs/screenshots.py [FOLDER]

The folder is docs/images. It wants Chromium and makes the demo anew, so that its times are those of today.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import uvicorn
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from tracewatch.settings import Settings
from tracewatch.web import make_app
from tracewatch.web.addresses import listen

HERE = Path(__file__).resolve().parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, HIGH = 1280, 800
COLOURS = 256  # of a picture with a few inks and grounds: nobody sees the difference, and it is a third of the size
MOST_BYTES = 150_000
PICTURES = {  # what is different about a picture: words for a browser's page, and the medium it is shown in
    "light": ({"color_scheme": "light"}, "screen"),
    "dark": ({"color_scheme": "dark"}, "screen"),
}
WAYS = {
    "forced-colors": ({"color_scheme": "dark", "forced_colors": "active"}, "screen"),
    "zoomed": ({"viewport": {"width": WIDE // 2, "height": HIGH // 2}, "device_scale_factor": 2}, "screen"),
    "print": ({"viewport": {"width": 794, "height": 1123}}, "print"),  # A4 at 96 dots an inch
}
IN_ALL_WAYS = ("overview", "incident")


def main(folder: Path) -> None:
    """Makes all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        db = str(Path(place) / "demo.db")
        subprocess.run([Path(sys.executable).with_name("tracewatch"), "demo", "--no-serve", "--db", db], check=True)
        with served(db) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
            for name, path in pages(address).items():
                for way, (how, medium) in {**PICTURES, **(WAYS if name in IN_ALL_WAYS else {})}.items():
                    take(browser, address + path, folder / f"{name}-{way}.png", how, medium)
            browser.close()


def chromium() -> str:
    """Where Chromium is. Raises SystemExit where it is not."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or sys.exit("No Chromium was found. On Debian: apt-get install chromium")


@contextmanager
def served(db: str) -> Iterator[str]:
    """The pages of a database, at this address."""
    with closing(listen("127.0.0.1", 0)) as socket:
        app = make_app(Settings(db=db), open_without_keys=True)
        server = uvicorn.Server(
            uvicorn.Config(app, http="httptools", ws="none", log_level="error", timeout_graceful_shutdown=5)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{socket.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def pages(address: str) -> dict[str, str]:
    """What is shown: the first screen, the worst incident of the last days, a trace of several steps, and the cost."""
    incident = first(r'class="row" href="(/incidents/\w+)', f"{address}/incidents?tab=resolved&severity=critical")
    trace = first(r'class="row" href="(/traces/[^"/?]+)', f"{address}/traces?operation_type=rerank&since=7d")
    return {"overview": "/?since=7d", "incident": incident, "trace": trace, "cost": "/cost?since=7d"}


def first(pattern: str, url: str) -> str:
    """The first of what a page has of that pattern."""
    with urllib.request.urlopen(url) as answer:  # noqa: S310  # our own address
        return re.findall(pattern, answer.read().decode())[0]


def take(browser: Browser, url: str, to: Path, how: Mapping[str, Any], medium: Literal["screen", "print"]) -> None:
    """One picture, in few colours."""
    usual = {"viewport": {"width": WIDE, "height": HIGH}, "reduced_motion": "reduce", "timezone_id": "Europe/Berlin"}
    context = browser.new_context(**usual | how)
    page = context.new_page()
    page.emulate_media(media=medium)
    page.goto(url)
    page.reload()  # by now the page knows the zone of its reader
    page.evaluate("document.fonts.ready")
    page.screenshot(path=to)
    context.close()
    with Image.open(to) as picture:
        few = picture.convert("RGB").quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE)
    few.save(to, optimize=True)
    size = to.stat().st_size
    print(f"{to.name}: {size:,} bytes")
    if size > MOST_BYTES:
        sys.exit(f"{to.name} is too large: at most {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "images")
