"""Every page of the book in a browser: no error, nothing broken, nothing from a network, and readable by all."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import PAGES

from uncertain_affect.compute import paths

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
# one style sheet colours all code: of it a single page is looked at, as a notebook's takes a minute
CODE = ".highlight"
PAGE_WITH_CODE = "notebooks/92_audit.html"


class Watched:
    """A page that remembers what went wrong on it."""

    def __init__(self, browser, site, viewport, scheme="light"):
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme)
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on("console", lambda line: line.type in ("error", "warning") and self.wrong.append(line.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("response", lambda r: r.status >= 400 and self.wrong.append(f"{r.status}: {r.url}"))
        own = (site, "data:")
        self.page.on("request", lambda r: r.url.startswith(own) or self.wrong.append(f"network: {r.url}"))
        aborted = "net::ERR_ABORTED"  # by going on to another page
        self.page.on("requestfailed", lambda r: r.failure == aborted or self.wrong.append(f"no answer: {r.url}"))


@pytest.fixture
def watched(request, browser, site):
    watched = Watched(browser, site, *getattr(request, "param", (DESKTOP,)))
    yield watched
    watched.context.close()


@pytest.fixture
def page(watched):
    return watched.page


def violations(page, leave_out=()):
    """What axe calls serious or critical: the rule, and the first element that breaks it."""
    context = {"exclude": [[selector] for selector in leave_out]}
    found = Axe().run(page, context=context, options={"resultTypes": ["violations"]})
    bad = [v for v in found.response["violations"] if v["impact"] in ("serious", "critical")]
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in bad]


@pytest.mark.parametrize(
    "watched", [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop-light", "phone-dark"], indirect=True
)
def test_a_page_opens_whole_and_all_can_read_it(watched, page, site, page_name, screenshots):
    page.goto(site + page_name)
    page.evaluate("window.MathJax?.startup?.promise")
    page.evaluate("document.querySelectorAll('img').forEach(img => img.loading = 'eager')")
    page.wait_for_function("[...document.images].every(img => img.complete)")
    name = f"{page_name.replace('/', '-').removesuffix('.html')}-{page.viewport_size['width']}.png"
    page.screenshot(path=screenshots / name)
    assert watched.wrong == []
    assert page.eval_on_selector_all("img", "all => all.filter(i => !i.naturalWidth).map(i => i.src)") == []
    assert page.locator("mjx-merror").count() == 0, "a formula that MathJax cannot read"
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide <= 0, f"the page is {too_wide} px wider than the screen"
    assert violations(page, () if page_name == PAGE_WITH_CODE else (CODE,)) == []
    for alt, source in page.eval_on_selector_all("article img", "all => all.map(i => [i.alt, i.src])"):
        assert len(re.findall(r"\w{2,}", alt)) >= 4, f"{alt!r} does not say what {source} shows"
        assert not re.match(r"(image|picture|<Figure|_images)\b", alt), alt


def test_formulas_are_drawn(page, site):
    page.goto(site + "notebooks/11_uncnet_disagreement.html")
    page.evaluate("MathJax.startup.promise")
    assert page.locator("mjx-container[display=true] svg").count() >= 2
    assert "$$" not in page.locator("article").inner_text()


def test_the_first_page_is_the_scoreboard_and_every_page_can_be_reached_from_it(page, site):
    page.goto(site)
    board = (paths.project_root() / "results" / "scoreboard.csv").read_text(encoding="utf-8").splitlines()
    folded = page.locator("article details tbody tr").count()
    assert page.locator("article tbody tr").count() - folded == len(board) - 1
    reached = page.eval_on_selector_all("nav a", "all => all.map(a => a.href.split('#')[0])")
    own = {site + name for name in PAGES} - {site + "search.html", site + "index.html"}
    assert own <= set(reached)


def test_search_finds_a_word_and_leads_to_it(watched, page, site, screenshots):
    page.goto(site)
    page.keyboard.press("Control+k")
    page.keyboard.type("Spearman")
    page.keyboard.press("Enter")
    found = page.locator("#search-results li a").first
    found.wait_for()
    page.screenshot(path=screenshots / "search-results.png")
    found.click()
    assert "Spearman" in page.locator("article").inner_text()
    assert watched.wrong == []


def test_light_and_dark_can_be_chosen(page, site):
    page.goto(site)
    colours = {}
    for choice in ("Dark", "Light"):
        page.get_by_role("button", name="Color mode").click()
        page.get_by_role("button", name=choice, exact=True).click()
        page.wait_for_timeout(500)  # colours fade into each other
        theme = page.evaluate("document.documentElement.dataset.theme")
        colours[theme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert set(colours) == {"light", "dark"} and len(set(colours.values())) == 2


def test_a_notebook_can_be_downloaded_as_it_is(page, site):
    page.goto(site + "notebooks/92_audit.html")
    page.get_by_role("button", name="Download this page").click()
    with page.expect_download() as download:
        page.locator("a.btn-download-source-button").click()
    committed = paths.project_root() / "notebooks" / "92_audit.ipynb"
    assert download.value.path().read_bytes() == committed.read_bytes()


def test_links_within_the_book_lead_somewhere(page, site):
    """Pages and the places in them; addresses elsewhere are not tried."""
    places, links = {}, {}
    for name in PAGES:
        page.goto(site + name, wait_until="domcontentloaded")
        places[site + name] = set(page.eval_on_selector_all("[id]", "all => all.map(e => e.id)"))
        links[name] = set(page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)"))
    dead = []
    for name, targets in links.items():
        for address, _, place in (target.partition("#") for target in targets if target.startswith(site)):
            if address in places:
                dead += [f"{name}: {address}#{place}"] if place and place not in places[address] else []
            elif not page.context.request.get(address).ok:
                dead.append(f"{name}: {address}")
    assert dead == []
