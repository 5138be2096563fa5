"""The page in a real Chromium, driven by Playwright: it loads quietly, sorts, filters, links and fits a phone."""

import shutil

import pytest

from bench.datasets import Library
from bench.report.page import render
from tests.report.test_report import ENTRIES, EVIL, SUITES, boards_of, fill

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
if CHROMIUM is None:
    pytest.skip("no chromium or google-chrome is on the PATH", allow_module_level=True)

TABLE = '.suite[data-suite="digits-c"] table.board'


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    store = fill(folder / "runs")
    text = render(boards_of(store), store, Library())
    (folder / "page.html").write_text(text, encoding="utf-8")
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """A function that opens a view; at the end nothing may have been complained of, or asked for elsewhere."""
    said, asked, contexts = [], [], []

    def _visit(view="", **how):
        context = browser.new_context(**how)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + view)
        return page

    yield _visit
    for context in contexts:
        context.close()
    assert said == []
    assert {url.split("#")[0].split(",")[0] for url in asked} <= {address, "data:image/png;base64"}


def names(page, table=TABLE):
    """Of the rows that are seen, in their order."""
    return [row.inner_text() for row in page.locator(f"{table} > tbody:not([hidden]) button.open").all()]


def column(page, heading):
    index = [th.get_attribute("data-sort") for th in page.locator(f"{TABLE} thead th").all()].index(heading)
    rows = page.locator(f"{TABLE} > tbody > tr:first-child").all()
    return [row.locator("th, td").nth(index).inner_text() for row in rows]


def test_it_loads_and_shows_everything(visit):
    page = visit()
    assert page.locator(".suite:visible").count() == len(SUITES)
    assert (
        page.inner_text("#shown")
        == f"{5 * len(SUITES)} of {5 * len(SUITES)} rows in {len(SUITES)} of {len(SUITES)} suites"
    )
    page.locator("details:not([open]) summary").first.click()
    picture = page.locator("img:visible").first
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 32


def test_a_heading_sorts_the_best_first_and_then_the_other_way(visit):
    page = visit()
    for heading, falling in (("noise", True), ("rel. drop", False)):
        for turned in (False, True):
            page.locator(f'{TABLE} th[data-sort="{heading}"] button').click()
            values = [float(text.split()[0]) for text in column(page, heading)]
            assert values == sorted(values, reverse=falling != turned)
            order = "descending" if falling != turned else "ascending"
            assert page.get_attribute(f'{TABLE} th[data-sort="{heading}"]', "aria-sort") == order
    page.locator(f'{TABLE} th[data-sort="checkpoint"] button').click()
    assert names(page)[1:] == ['mixer"&$am$', "mixer", "resnet", "vit-sam"] or names(page) == sorted(names(page))


def test_filters_hide_rows_charts_and_suites(visit):
    page = visit()
    page.select_option("select[name=family]", "vit")
    assert sorted(names(page)) == [EVIL, "vit-sam"]
    assert page.locator(".suite .chart g[data-family=mixer]:visible").count() == 0
    assert page.locator("figure[data-family]:visible").count() == 2
    page.select_option("select[name=sam]", "sam")
    assert names(page) == ["vit-sam"]
    page.select_option("select[name=suite]", "digits-c")
    assert page.locator(".suite:visible").count() == 1
    assert page.inner_text("#shown") == f"1 of {len(ENTRIES) * len(SUITES)} rows in 1 of {len(SUITES)} suites"
    assert page.evaluate("location.hash") == "#family=vit&sam=sam&suite=digits-c"
    block = page.locator("div.block")
    assert block.is_visible()
    page.select_option("select[name=suite]", "digits-crop-ratio")  # whose table of gains is empty
    assert not block.is_visible()
    page.select_option("select[name=family]", "resnet")  # which has no pair
    assert not page.get_by_text("Images that flipped").is_visible()
    page.click("button[type=reset]")
    assert page.locator(".suite:visible").count() == len(SUITES)
    assert page.evaluate("location.hash") == ""


def test_the_summary_is_filtered_by_row_and_by_column_and_sorts(visit):
    page = visit()
    headings = page.locator(".matrix thead th:visible")
    assert headings.count() == 2 + len(SUITES)
    page.select_option("select[name=suite]", "digits-c")
    page.select_option("select[name=family]", "vit")
    assert headings.count() == 3
    assert page.locator(".matrix > tbody:visible").count() == 2
    page.click("button[type=reset]")
    page.locator('.matrix th[data-sort="digits-r"] button').click()
    values = [float(cell.get_attribute("data-v")) for cell in page.locator('.matrix td[data-suite="digits-r"]').all()]
    assert values == sorted(values, reverse=True)


def test_a_link_restores_a_view(visit):
    page = visit("#suite=digits-c&family=mixer&sort=-mean%20of%2015")
    assert names(page) == ["mixer", 'mixer"&$am$']
    assert page.locator(".suite:visible").count() == 1
    assert page.input_value("select[name=suite]") == "digits-c"
    page.evaluate("location.hash = 'family=vit'")
    page.wait_for_function("document.querySelector('select[name=suite]').value === ''")
    assert sorted(names(page)) == [EVIL, "vit-sam"]


def test_a_link_to_what_is_not_here_shows_everything(visit):
    page = visit("#suite=imagenet-z&family=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&sort=nothing")
    assert page.locator(".suite:visible").count() == len(SUITES)
    assert len(names(page)) == len(ENTRIES)


def test_what_stands_behind_a_number_opens_by_keyboard(visit):
    page = visit("#suite=digits-c")
    button = page.locator(f"{TABLE} button.open").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    said = page.locator(f"{TABLE} tr.more:visible").inner_text()
    assert "limit 24, seed 0, cpu fp32" in said
    assert "2026-01-01" in said
    assert "rtbench 1, torch 2" in said
    page.keyboard.press("Enter")
    assert page.locator(f"{TABLE} tr.more:visible").count() == 0


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_does_not_scroll_sideways(visit, width):
    page = visit("", viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    page.locator(f"{TABLE} button.open").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(TABLE).evaluate("table => table.parentElement.scrollWidth") >= min(width, 400)


def test_it_is_dark_where_the_system_is_and_the_button_turns_that(visit):
    def paper(page):
        return sum(map(int, page.evaluate("getComputedStyle(document.body).backgroundColor").strip("rgb()").split(",")))

    dark, light = visit(color_scheme="dark"), visit(color_scheme="light")
    assert paper(dark) < 150
    assert paper(light) > 700
    dark.click("#theme")
    assert paper(dark) > 700
    dark.reload()
    assert paper(dark) > 700


def test_without_scripts_everything_can_be_read(visit):
    page = visit(java_script_enabled=False)
    assert page.locator(f"{TABLE} tr.more:visible").count() == len(ENTRIES)
    assert not page.locator(".bar").is_visible()
