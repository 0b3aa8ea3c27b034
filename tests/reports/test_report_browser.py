"""The page of a whole report of the paper's size, in a real Chromium.

Left out, with a reason, where Chromium or its driver is missing; HARNESS_REQUIRE_BROWSER=1 makes it fail.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.comparison import compare
from harness.planning.cells import resolve
from harness.planning.commands import Commands
from harness.reports.folder import write_report
from harness.reports.overview import entry, write_overview
from harness.results.records import EvaluationRecord
from harness.results.store import Store
from harness.specs import Specs

POINTS = 200
NASTY = "</script><script>window.hacked = 1</script>\"><img src=x onerror='window.hacked = 1'> $&"

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("chromium")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All cells but one, 4 seeds and 200 evaluations each, around the printed numbers; the page's folder."""
    specs = Specs()
    resolved = resolve(specs, "aspc-table1")
    published = specs.published(resolved.table)
    # what a user's own spec may be called
    columns = [
        column.model_copy(update={"label": NASTY if column.id == "wpc" else column.label})
        for column in resolved.table.columns
    ]
    table = resolved.table.model_copy(update={"columns": tuple(columns)})
    resolved = replace(resolved, table=table)
    rng = np.random.default_rng(0)
    [protocol] = resolved.protocols
    steps = np.linspace(protocol.length / POINTS, protocol.length, POINTS).astype(int).tolist()
    root = tmp_path_factory.mktemp("report")
    with Store.open(root / "results.db", create=True) as store:
        missing = ("maze2d-umaze-v1", resolved.table.columns[0].id)
        measured = [cell for cell in resolved.cells if (cell.dataset.id, cell.column.id) != missing]
        keys = [run.key for cell in measured for run in cell.runs]
        store.register(run for cell in measured for run in cell.runs)
        store.claim(keys)
        store.record_fingerprint(keys, {"device": "cpu", NASTY: NASTY}, "p")
        for cell in measured:
            printed, reference = published[cell.dataset.id, cell.column.id], cell.dataset.reference
            for run in cell.runs:
                scores = rng.normal(printed.mean, printed.std, POINTS)
                raw = reference.minimum + scores / 100 * (reference.maximum - reference.minimum)
                store.record_evaluations(
                    [
                        EvaluationRecord(run.key, step, [value], [1])
                        for step, value in zip(steps, raw, strict=True)
                    ]
                )
        store.finish(keys, 60.0, 30.0)
        start = time.process_time()
        write_report(compare(resolved, specs, store), resolved, Commands("aspc-table1"), store, root / "page")
        seconds = time.process_time() - start
    return root / "page", seconds


def test_a_whole_report_is_quick_and_small(whole):
    folder, seconds = whole
    assert (folder / "index.html").stat().st_size < 2_000_000
    assert seconds < 15


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        reason = "needs chromium and chromedriver; on Debian: apt install chromium chromium-driver"
        if os.environ.get("HARNESS_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    # Debian's start page is somebody's web site
    options.add_experimental_option(
        "prefs", {"session.restore_on_startup": 4, "session.startup_urls": ["about:blank"]}
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


class Page:
    """A fresh page and what tests do to it."""

    def __init__(self, browser, folder: Path):
        self.browser, self.url = browser, (folder / "index.html").as_uri()
        self.media("light")
        self.size(1300, 900)
        browser.get("about:blank")
        browser.get_log("performance")  # what the browser did before is not the page's doing
        browser.get(self.url)

    def size(self, width, height):
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def media(self, theme):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector):
        return self.browser.find_element("css selector", selector)

    def until(self, condition):
        """Waits for what the browser does on its own, after the command that led to it has returned."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 30).until(lambda _: condition())

    def script(self, text, *arguments):
        return self.browser.execute_script(text, *arguments)

    def press(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    @property
    def rows(self):
        """The labels of the datasets shown, in order."""
        return self.script(
            "return [...document.querySelectorAll('tr[data-kind=dataset]')]"
            ".filter((row) => row.checkVisibility()).map((row) => row.cells[0].textContent)"
        )

    def values(self, column):
        """The numbers that a column shows, from top to bottom."""
        texts = self.script(
            "return [...document.querySelectorAll('tr[data-kind=dataset]')]"
            ".map((row) => row.cells[arguments[0]].querySelector('.number').textContent)",
            column + 1,
        )
        return [float(text.split()[0]) for text in texts]


@pytest.fixture
def page(browser, whole):
    opened = Page(browser, whole[0])
    yield opened
    assert opened.script("return window.hacked") is None
    assert browser.get_log("browser") == []


def test_the_page_loads_only_itself(page, browser):
    page.script("for (const image of document.images) image.loading = 'eager'")
    page.until(lambda: all(page.script("return [...document.images].map((image) => image.complete)")))
    requests = [entry["message"] for entry in browser.get_log("performance")]
    assert any("index.html" in message for message in requests)
    assert not [message for message in requests if '"url":"http' in message]


def test_a_column_sorts_down_up_and_back(page):
    original = page.rows
    header = page.all("thead button")[6]
    for direction, name in ((-1, "descending"), (1, "ascending")):
        header.click()
        assert page.script("return arguments[0].parentElement.ariaSort", header) == name
        values = page.values(5)
        assert values == sorted(values, reverse=direction < 0)
        assert not page.one("tr.group").is_displayed()
    header.click()
    assert page.rows == original
    assert page.script("return document.querySelectorAll('[aria-sort]').length") == 0
    assert page.one("tr.group").is_displayed()


def test_datasets_sort_by_name_and_columns_by_difference(page):
    page.all("thead button")[0].click()
    assert page.rows == sorted(page.rows)
    page.one("#measure").send_keys("difference")
    page.all("thead button")[1].click()
    differences = page.script(
        "const cells = JSON.parse(document.getElementById('data').textContent).cells;"
        "return [...document.querySelectorAll('tr[data-kind=dataset]')]"
        ".map((row) => cells[row.cells[1].firstElementChild.dataset.cell].difference)"
    )
    known = [value for value in differences if value is not None]
    assert known == sorted(known, reverse=True)
    # what has no difference comes last, whatever the direction
    assert differences[: len(known)] == known
    assert len(known) < len(differences)


def test_text_filters_rows_and_columns(page):
    page.one("#filter").send_keys("Hopper rebrac")
    assert page.rows
    assert all(label.startswith("hopper") for label in page.rows)
    shown = [header.text for header in page.all("thead th") if header.is_displayed()]
    assert shown == ["Dataset", "ReBRAC"]
    assert page.one("#shown").text == f"{len(page.rows)} of 39 datasets shown"
    page.one("#filter").clear()
    page.one("#filter").send_keys("nothing is called so")
    assert page.rows == []


def test_verdicts_filter_and_combine(page):
    chips = page.all("button.chip")
    incomparable = next(chip for chip in chips if chip.get_attribute("data-verdict") == "N/C")
    incomparable.click()
    assert incomparable.get_attribute("aria-pressed") == "true"
    assert page.rows
    mujoco = ("halfcheetah", "hopper", "walker2d")
    assert not any(label.startswith(mujoco) for label in page.rows)
    next(chip for chip in chips if chip.get_attribute("data-verdict") == "OK").click()
    assert len(page.rows) > 3
    for chip in chips:
        if chip.get_attribute("aria-pressed") == "true":
            chip.click()
    assert len(page.rows) == 39


def test_a_cell_opens_by_click_and_closes_by_button_and_backdrop(page):
    cell = page.all("tr[data-kind=dataset] button.cell")[5]
    cell.click()
    dialog = page.one("dialog")
    assert dialog.is_displayed()
    assert page.one("#dialog-title").text == "halfcheetah-random-v2, ASPC"
    assert len(page.all("dialog .curve polyline")) == 4
    assert len(page.all("dialog tbody tr")) == 4
    assert page.one("dialog pre").text == (
        "harness reproduce aspc-table1 --datasets halfcheetah-random-v2 --algorithms aspc"
    )
    assert NASTY in dialog.text
    page.one("#close").click()
    assert not dialog.is_displayed()
    cell.click()
    page.script("arguments[0].dispatchEvent(new MouseEvent('click', { bubbles: true }))", dialog)
    assert not dialog.is_displayed()


def test_a_cell_opens_by_keyboard_and_gives_the_focus_back(page):
    from selenium.webdriver.common.keys import Keys

    cell = page.all("tr[data-kind=dataset] button.cell")[7]
    page.script("arguments[0].focus()", cell)
    for key in (Keys.ENTER, Keys.SPACE):
        page.press(key)
        assert page.one("dialog").is_displayed()
        assert page.script("return document.activeElement.closest('dialog') !== null")
        page.press(Keys.ESCAPE)
        page.until(lambda: not page.one("dialog").is_displayed())
        assert page.browser.switch_to.active_element == cell


def test_an_open_cell_has_an_address(page):
    page.all("tr[data-kind=dataset] button.cell")[8].click()
    address, title = page.browser.current_url, page.one("#dialog-title").text
    page.one("#close").click()
    page.until(lambda: page.browser.current_url == page.url)
    page.browser.get("about:blank")
    page.browser.get(address)
    assert page.one("#dialog-title").text == title
    page.browser.get("about:blank")
    page.browser.get(f"{page.url}#%E0%A4%A")
    assert not page.one("dialog").is_displayed()


def test_dark_and_light(page):
    def ground():
        colour = page.script("return getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))

    toggle = page.one("#theme")
    assert ground() > 600
    page.media("dark")
    assert ground() < 150
    page.until(lambda: toggle.text == "Light colours")
    toggle.click()
    assert ground() > 600
    page.browser.refresh()
    assert ground() > 600
    page.script("localStorage.clear()")


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_scrolls_the_table_and_not_the_page(page, width):
    page.size(width, 700)
    page.until(lambda: page.script("return window.innerWidth") == width)
    for _ in range(2):
        widths = page.script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths == [width, width]
        page.script("document.querySelector('button.cell').click()")
    assert page.script("return document.querySelector('.scroll').scrollWidth") > width


def test_a_desktop_reaches_every_row_without_a_box_that_scrolls(page):
    height = page.script(
        "const box = document.querySelector('.scroll'); return box.scrollHeight - box.clientHeight"
    )
    assert height <= 2, "but for borders"
    page.script("window.scrollTo(0, 1500)")
    assert page.script("return document.querySelector('thead th').getBoundingClientRect().top") == 0


@pytest.fixture(scope="module")
def served(whole, tmp_path_factory):
    """The address of a folder with a report, and an overview that links it."""
    report, _ = whole
    specs = Specs()
    with Store.open(report.parent / "results.db") as store:
        comparison = compare(resolve(specs, "aspc-table1"), specs, store)
        write_overview([entry(comparison, store, "page/index.html")], "results.db", report.parent)
    serve = functools.partial(SimpleHTTPRequestHandler, directory=report.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("address", ["page/index.html", "index.html"])
def test_lighthouse_finds_nothing_that_keeps_anybody_out(served, address, tmp_path):
    lighthouse, chromium = shutil.which("lighthouse"), shutil.which("chromium")
    if not (lighthouse and chromium):
        reason = "needs Chromium and Lighthouse: npm install --global lighthouse"
        if os.environ.get("HARNESS_REQUIRE_LIGHTHOUSE") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    command = [
        lighthouse,
        f"{served}/{address}",
        "--quiet",
        "--no-enable-error-reporting",
        "--only-categories=accessibility",
        "--output=json",
    ]
    command += [
        f"--output-path={tmp_path / 'found.json'}",
        "--chrome-flags=--headless --no-sandbox --disable-gpu",
    ]
    subprocess.run(command, check=True, env={**os.environ, "CHROME_PATH": chromium})
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    failed = [each["title"] for each in found["audits"].values() if each["score"] == 0]
    assert (found["categories"]["accessibility"]["score"], failed) == (1, [])
