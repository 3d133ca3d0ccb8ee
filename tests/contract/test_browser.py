"""The report in a real browser, which has no network: it opens, stays quiet, answers the pointer and the keyboard.

Mutations that must fail here: a script or font from the network; a chart whose JSON is broken; tooltips taken out of a
figure; `press` without `focusRow`; sorting numbers as words; a table that widens the page of a phone; `words` without the
thumbnail, or with another image's; a table that says nothing of what its box hides, or hides it on paper; an address of a row that does not open it; a row that comes alive while it is closed.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from selfstudy.report import write, write_pair
from tests.report_study import write_full_study, write_hostile_study
from tests.synthetic_study import ACCURACY, Truth, write_study

selenium = pytest.importorskip("selenium", reason="needs selenium")
BROWSER = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome", "chrome") if (path := shutil.which(name))), None
)
DRIVER = shutil.which("chromedriver")
if BROWSER is None or DRIVER is None:
    pytest.skip("needs chromium and chromedriver on the path", allow_module_level=True)

from selenium import webdriver  # noqa: E402  (after the skip)
from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1280,1000",
)  # fmt: skip
WAIT_SECONDS = 30


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(DRIVER))
    found.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    found.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield found
    found.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    return write(write_full_study(tmp_path_factory.mktemp("browser") / "study"))


@pytest.fixture
def opened(driver, page) -> Iterator[webdriver.Chrome]:
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get(page.as_uri())
    yield driver
    assert [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def _enliven(driver: webdriver.Chrome, figure: str) -> None:
    """Scroll to a figure, whose row is opened first if it is about one, and wait until its charts run."""
    opened = "const found = document.getElementById(arguments[0]); const row = found.closest('details'); if (row) row.open = true; found.scrollIntoView()"
    driver.execute_script(opened, figure)
    done = "const charts = [...document.querySelectorAll('#' + arguments[0] + ' .chart')]; return charts.every(c => 'alive' in c.dataset)"
    WebDriverWait(driver, WAIT_SECONDS).until(lambda d: d.execute_script(done, figure))


def _tooltip(driver: webdriver.Chrome) -> str:
    found = driver.find_elements(By.CSS_SELECTOR, "#vg-tooltip-element.visible")
    return found[0].text if found else ""


def test_every_chart_runs_and_nothing_is_asked_of_the_network(opened):
    figures = opened.execute_script(
        "return [...document.querySelectorAll('section.figure[id]')].map(figure => figure.id)"
    )
    study = [figure for figure in figures if not figure.startswith("row-")]
    for figure in study:
        _enliven(opened, figure)
    assert opened.find_elements(By.CSS_SELECTOR, ".row .chart[data-alive]") == []  # closed: nothing is drawn
    for figure in figures:
        _enliven(opened, figure)
    assert len(opened.find_elements(By.CSS_SELECTOR, ".chart[data-alive] svg")) >= 30
    loaded = opened.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def _pointed_at(driver: webdriver.Chrome, marks: str, place: int) -> str:
    """The words of the tooltip of one of the marks."""

    def words(driver: webdriver.Chrome) -> str:
        mark = driver.find_elements(By.CSS_SELECTOR, marks)[place]
        ActionChains(driver).move_to_element(mark).move_by_offset(1, 1).perform()
        return _tooltip(driver)

    return WebDriverWait(driver, WAIT_SECONDS).until(words)


def test_pointing_at_a_dot_tells_its_numbers(opened):
    _enliven(opened, "accuracy")
    words = _pointed_at(opened, "#accuracy .chart .mark-symbol path", -1)
    assert "95 % interval" in words and any(row in words for row in ACCURACY)


def test_pointing_at_a_square_tells_the_mistake(opened):
    _enliven(opened, "row-simclr-confusion")
    for place in (0, 1):
        assert "was called" in _pointed_at(opened, "#row-simclr-confusion .chart .mark-rect path", place)


def test_pointing_at_a_dot_of_the_map_shows_its_image(opened, page):
    _enliven(opened, "row-simclr-embedding")
    marks = "#row-simclr-embedding .chart .mark-symbol path"
    assert "is" in _pointed_at(opened, marks, 5)
    box = opened.find_element(By.CSS_SELECTOR, "#vg-tooltip-element .thumbnail")
    style = "const s = getComputedStyle(arguments[0]); return [s.width, s.backgroundImage.slice(0, 22), s.backgroundPosition]"
    width, image, position = opened.execute_script(style, box)
    assert width == "96px" and image.startswith('url("data:image/jpeg')
    data = "const d = document.querySelectorAll(arguments[0])[5].__data__.datum; return [d.picture, d.x]"
    picture, x = opened.execute_script(data, marks)
    places = json.loads((page.parent / "thumbnails.json").read_text(encoding="utf-8"))
    left, top = picture % places["columns"], picture // places["columns"]
    assert [round(float(part.removesuffix("px"))) for part in position.split()] == [-96 * left, -96 * top]
    maps = list(page.parent.glob("cells/*/map.csv"))
    line = pd.read_csv(maps[0], dtype={"id": str}).set_index("id").loc[places["ids"][picture]]
    assert line["x"] == pytest.approx(x)


def test_the_key_brings_a_row_out_in_every_figure(opened):
    for figure in ("accuracy", "differences"):
        _enliven(opened, figure)
    button = opened.find_element(By.CSS_SELECTOR, '#accuracy .key button[data-row="simclr"]')
    opened.execute_script("arguments[0].click()", button)
    for figure in ("accuracy", "differences"):
        faint = f"#{figure} .chart .mark-symbol path[opacity='0.12']"
        WebDriverWait(opened, WAIT_SECONDS).until(lambda d, faint=faint: d.find_elements(By.CSS_SELECTOR, faint))
    pressed = opened.find_elements(By.CSS_SELECTOR, '.key button[aria-pressed="true"]')
    assert {found.get_attribute("data-row") for found in pressed} == {"simclr"}
    opened.execute_script("arguments[0].click()", button)
    gone = "#accuracy .chart .mark-symbol path[opacity='0.12']"
    WebDriverWait(opened, WAIT_SECONDS).until_not(lambda d: d.find_elements(By.CSS_SELECTOR, gone))


def test_choosing_how_many_labels_redraws_the_recalls(opened):
    _enliven(opened, "recall")
    bars = (
        "return [...document.querySelectorAll('#recall .chart .mark-rule line')].map(l => l.getAttribute('x2')).join()"
    )
    before = opened.execute_script(bars)
    select = opened.find_element(By.CSS_SELECTOR, "#recall select")
    other = next(o for o in select.find_elements(By.TAG_NAME, "option") if not o.is_selected())
    other.click()
    WebDriverWait(opened, WAIT_SECONDS).until(lambda d: d.execute_script(bars) != before)


def test_an_address_opens_its_row_and_all_rows_open_at_once(opened, page):
    assert not opened.find_elements(By.CSS_SELECTOR, "details.row[open]")
    opened.get(f"{page.as_uri()}#row-byol")
    WebDriverWait(opened, WAIT_SECONDS).until(lambda d: d.find_elements(By.CSS_SELECTOR, "#row-byol[open]"))
    opened.find_element(By.CSS_SELECTOR, "#row-byol > summary").send_keys(Keys.ENTER)
    assert not opened.find_elements(By.CSS_SELECTOR, "details.row[open]")
    opened.find_element(By.CSS_SELECTOR, "button[data-open=true]").send_keys(Keys.ENTER)
    assert len(opened.find_elements(By.CSS_SELECTOR, "details.row[open]")) == len(ACCURACY)


def test_a_recipe_is_copied_or_at_least_selected(opened):
    opened.execute_script("document.getElementById('row-simclr').open = true")
    button = opened.find_element(By.CSS_SELECTOR, "#row-simclr button.copy")
    button.send_keys(Keys.ENTER)
    status = "#row-simclr .copied [role=status]"
    WebDriverWait(opened, WAIT_SECONDS).until(lambda d: d.find_element(By.CSS_SELECTOR, status).text != "")
    assert "simclr" in opened.execute_script("return getSelection().toString()")


def _column(driver: webdriver.Chrome, number: int) -> list[str]:
    cells = "return [...document.querySelectorAll('#table tbody tr:not([hidden])')].map(row => row.cells[arguments[0]].textContent)"
    return driver.execute_script(cells, number)


def test_the_table_sorts_numbers_as_numbers_also_from_the_keyboard(opened):
    headers = opened.find_elements(By.CSS_SELECTOR, "#table thead th")
    mean = next(place for place, header in enumerate(headers) if header.text == "mean")
    button = headers[mean].find_element(By.TAG_NAME, "button")
    button.send_keys(Keys.ENTER)
    values = [float(value) for value in _column(opened, mean)]
    assert values == sorted(values) and headers[mean].get_attribute("aria-sort") == "ascending"
    button.send_keys(Keys.SPACE)
    values = [float(value) for value in _column(opened, mean)]
    assert values == sorted(values, reverse=True) and headers[mean].get_attribute("aria-sort") == "descending"
    headers[1].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)  # labels: 4 before 10, all last
    assert list(dict.fromkeys(_column(opened, 1))) == ["1 per class", "4 per class", "10 per class", "all"]


def test_words_filter_the_table(opened):
    everything = len(_column(opened, 0))
    box = opened.find_element(By.CSS_SELECTOR, "#table input[type=search]")
    box.send_keys("simclr linear macro")
    assert _column(opened, 0) == ["simclr"] * 4
    box.send_keys(Keys.CONTROL, "a")
    box.send_keys(Keys.DELETE)
    assert len(_column(opened, 0)) == everything


@pytest.mark.parametrize("width", [390, 768])
def test_a_narrow_window_needs_no_sideways_scrolling(opened, width):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.refresh()
    for figure in ("accuracy", "differences", "crossover", "recall", "row-simclr-confusion", "row-simclr-embedding"):
        _enliven(opened, figure)
        widest = "return Math.max(...[...document.querySelectorAll('#' + arguments[0] + ' svg')].map(s => s.getBoundingClientRect().right))"
        assert opened.execute_script(widest, figure) <= width
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width


HIDDEN = """
return [...document.querySelectorAll('.scroll')].filter(box => box.offsetParent !== null).filter(box => {
  const style = getComputedStyle(box);
  return style.overflowY !== 'visible' || style.overflowX !== 'visible' || style.maxHeight !== 'none';
}).map(box => box.getAttribute('aria-label'))
"""


def test_on_paper_no_line_and_no_column_is_hidden(opened):
    opened.find_element(By.CSS_SELECTOR, "button[data-open=true]").send_keys(Keys.ENTER)
    assert len(opened.execute_script(HIDDEN)) > 10
    size = {
        "width": 718,
        "height": 1000,
        "deviceScaleFactor": 1,
        "mobile": False,
    }  # A4 less 1 cm at each side, at 96 dpi
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert opened.execute_script(HIDDEN) == []
        widest = "return Math.max(...[...document.querySelectorAll('table')].map(table => table.getBoundingClientRect().right))"
        assert opened.execute_script(widest) <= 718
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_table_wider_than_its_place_says_so(opened):
    wide = "return [...document.querySelectorAll('.scroll[data-wide]')].map(box => box.closest('section').id)"
    assert not {"scores", "costs", "calibration", "crossover", "table"} & set(opened.execute_script(wide))
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened.refresh()
    WebDriverWait(opened, WAIT_SECONDS).until(lambda d: "costs" in d.execute_script(wide))
    hint = "return getComputedStyle(document.querySelector('#costs .scroll'), '::before').content"
    assert "scroll sideways" in opened.execute_script(hint)
    rows = "const box = document.querySelector('#costs .scroll'), name = box.querySelector('tbody th'); return name.offsetWidth / box.clientWidth"
    assert opened.execute_script(rows) < 0.5  # the names stay in sight, and leave room for a number


def test_dark_and_light_differ_and_charts_follow(opened):
    seen = {}
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        _enliven(opened, "accuracy")
        colour = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        seen[scheme] = [
            opened.execute_script(colour, "body", "backgroundColor"),
            opened.execute_script(colour, "#accuracy .mark-symbol path", "fill"),
            opened.execute_script(colour, "#accuracy .role-axis-label text", "fill"),
        ]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))


def test_without_scripts_the_pictures_are_there(driver, page):
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(page.as_uri())
        charts = [found for found in driver.find_elements(By.CSS_SELECTOR, ".chart svg") if found.is_displayed()]
        assert len(charts) >= 10
        assert all(chart.size["width"] > 200 and chart.size["height"] > 100 for chart in charts)
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_hostile_names_do_nothing(driver, tmp_path):
    driver.get(write(write_hostile_study(tmp_path / "study")).as_uri())
    for figure in ("accuracy", "row-supervised-confusion", "row-random-embedding"):
        _enliven(driver, figure)
    assert "alert(1)" in _pointed_at(driver, "#row-supervised-confusion .chart .mark-rect path", 0)
    assert driver.execute_script("return document.querySelectorAll('[onerror]').length") == 0
    assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_two_studies_side_by_side_sort_and_ask_nothing_of_the_network(driver, tmp_path):
    accuracy = {name: ACCURACY[name] for name in ("supervised", "random", "simclr")}
    folders = [
        write_study(tmp_path / name, Truth(accuracy=accuracy, num_test=100), seed) for seed, name in enumerate("ab")
    ]
    driver.get(write_pair(*folders).as_uri())
    header = driver.find_element(By.CSS_SELECTOR, "#scores thead th:nth-child(5)")
    header.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    keys = "return [...document.querySelectorAll('#scores tbody tr')].map(row => Number(row.cells[4].dataset.key))"
    values = driver.execute_script(keys)
    assert values == sorted(values) and len(values) > 10 and header.get_attribute("aria-sort") == "ascending"
    assert driver.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
