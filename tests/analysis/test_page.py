"""The page in a headless Chromium: it opens from disk, and the slider moves its pictures."""

import shutil

import pytest
import torch
from tiny_lm import HARD, hard_vocabulary

from tsloss_fast.analysis.names import quoted
from tsloss_fast.analysis.run import analyze

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1280,1400"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Five epochs: equal rows at first, then a circle that opens; a name that could do harm."""
    folder = tmp_path_factory.mktemp("runs") / "<b>&run"
    folder.mkdir()
    angle = torch.arange(12) * (2 * torch.pi / 12)
    circle = torch.stack((angle.cos(), angle.sin()), dim=-1)
    for epoch in range(5):
        torch.save((epoch * circle)[None], folder / f"soft_prompt_epoch_{epoch}.pt")
    (folder / "soft_prompt_epoch_9.pt").write_bytes(b"")
    (folder / "accuracy.csv").write_text("epoch,accuracy\n0,0.1\n2,0.4\n3,0.3\n4,0.9\n")
    return analyze(folder, accuracy=folder / "accuracy.csv", progress=False)


@pytest.fixture
def page(browser, run):
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get("about:blank")
    browser.get(run.files[-1].as_uri())
    return browser


def find(page, selector):
    return page.find_elements("css selector", selector)


def picture(page, name):
    return page.execute_script(f"return document.getElementById('{name}').innerHTML")


def press(page, selector, *keys):
    find(page, selector)[0].send_keys(*keys)


def test_it_opens_without_an_error_or_a_request(page, run):
    assert page.title.endswith(": prompt topology")
    assert page.get_log("browser") == []
    urls = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert urls == []
    requests = [e["message"] for e in page.get_log("performance") if "requestWillBeSent" in str(e)]
    assert not [r for r in requests if '"url":"http' in r]
    text = run.files[-1].read_text()
    assert "src=" not in text
    assert "href=" not in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_slider_changes_both_pictures_and_the_values(page):
    from selenium.webdriver.common.keys import Keys

    assert find(page, "#where")[0].text == "epoch 0"
    assert len(find(page, "#diagram .dot0:not([r='4.5'])")) == 11
    assert len(find(page, "#barcode .bar1")) == 0
    assert "11 at 0" in picture(page, "diagram")
    seen = {(picture(page, "diagram"), picture(page, "barcode"))}
    for epoch in range(1, 5):
        press(page, "#slider", Keys.ARROW_RIGHT)
        assert find(page, "#where")[0].text == f"epoch {epoch}"
        seen.add((picture(page, "diagram"), picture(page, "barcode")))
        assert len(find(page, "#barcode .bar0")) == 11
        assert len(find(page, "#barcode .bar1")) == 1
    assert len(seen) == 5
    assert len({pair[0] for pair in seen}) == len({pair[1] for pair in seen}) == 5
    assert "12 distinct rows, 1 loop" in find(page, "#said")[0].text
    press(page, "#slider", Keys.HOME)
    assert find(page, "#where")[0].text == "epoch 0"


def test_bars_of_the_picture_are_those_of_the_diagram(page, run):
    page.execute_script("goTo(3)")
    h0, h1 = run.topologies[3].diagrams
    bars = page.execute_script("return data.bars[3]")
    assert torch.allclose(torch.tensor([bar[:2] for bar in bars[0]]), h0.pairs, rtol=1e-6)
    assert bars[1][0][:2] == pytest.approx(h1.pairs[0].tolist(), rel=1e-6)
    assert bars[1][0][2:] == [*h1.birth_edges[0].tolist(), *h1.death_edges[0].tolist()]
    bottom = page.execute_script("return marks.filter(m => m.dim === 0)[0].diagram.y")
    page.execute_script("goTo(4)")
    # The same bar dies later, so it stands higher on axes that stay as they are.
    assert page.execute_script("return marks.filter(m => m.dim === 0)[0].diagram.y") < bottom


def test_keys_go_through_the_bars_and_show_values(page):
    from selenium.webdriver.common.keys import Keys

    page.execute_script("goTo(4)")
    press(page, "#diagram", Keys.ARROW_DOWN)
    tip = find(page, "#tip")[0]
    assert tip.is_displayed()
    assert "H1 (loops)" in tip.text
    assert "born with rows" in tip.text
    press(page, "#diagram", Keys.ARROW_DOWN)
    assert "H0 (components)" in tip.text
    assert len(find(page, "#diagram .on")) == len(find(page, "#barcode .on")) == 1
    press(page, "#diagram", Keys.ESCAPE)
    assert not tip.is_displayed()
    press(page, "#barcode", Keys.ARROW_LEFT)
    assert find(page, "#where")[0].text == "epoch 3"


def test_arrow_keys_move_through_the_run_before_any_click(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press_anywhere(key):
        ActionChains(page).send_keys(key).perform()
        return find(page, "#where")[0].text

    assert page.execute_script("return document.activeElement === document.body")
    assert press_anywhere(Keys.ARROW_RIGHT) == "epoch 1"
    assert press_anywhere(Keys.ARROW_RIGHT) == "epoch 2"
    assert press_anywhere(Keys.ARROW_LEFT) == "epoch 1"
    # Once for each press, also where a part of the page has use for the key itself.
    for selector, wanted in (("#slider", 2), ("#diagram", 3), ("#theme", 4), ("#upwards", 4)):
        page.execute_script(f"byId('{selector[1:]}').focus()")
        assert press_anywhere(Keys.ARROW_RIGHT) == f"epoch {wanted}"


def test_the_pointer_shows_the_values_of_the_nearest_bar(page):
    from selenium.webdriver import ActionChains

    page.execute_script("goTo(4)")
    loop = find(page, "#diagram .dot1")[-1]
    ActionChains(page).move_to_element(loop).perform()
    assert "lifetime" in find(page, "#tip")[0].text
    assert "H1 (loops)" in find(page, "#tip")[0].text


def test_fit_upwards_and_theme_change_the_picture(page):
    page.execute_script("goTo(2)")
    whole = picture(page, "diagram")
    find(page, "#fit")[0].click()
    fitted = picture(page, "diagram")
    page.execute_script(
        "byId('upwards').value = 'lifetime'; byId('upwards').dispatchEvent(new Event('change'))"
    )
    assert len({whole, fitted, picture(page, "diagram")}) == 3
    colours = set()
    for _ in range(2):
        find(page, "#theme")[0].click()
        colours.add(page.execute_script("return getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


def marked(page):
    """How many bars are marked in each picture, and how many loops in the list."""
    places = ("#diagram .on", "#barcode .on", "#loop-list .chosen")
    return [len(find(page, place)) for place in places]


def test_a_loop_shows_its_rows_and_marks_its_bar(page, run):
    from selenium.webdriver import ActionChains

    assert find(page, "#loop-list")[0].text == "no loops here"
    page.execute_script("goTo(4)")
    (item,) = find(page, "#loop-list li")
    (walk,) = run.topologies[4].loops[0].walks
    assert item.text.splitlines()[1:] == [f"row {row}" for row in (*walk, walk[0])]
    assert "12 rows" in item.text
    ActionChains(page).move_to_element(item).perform()
    assert marked(page) == [1, 1, 1]
    assert page.execute_script("return [state.chosen.dim, state.chosen.index]") == [1, 0]
    assert not find(page, "#tip")[0].is_displayed()
    ActionChains(page).move_to_element(find(page, "#title")[0]).perform()
    assert marked(page) == [0, 0, 0]
    # By keys as well, and the other way: a bar that is pointed at marks its loop.
    page.execute_script("document.querySelector('#loop-list li').focus()")
    assert marked(page) == [1, 1, 1]
    page.execute_script("document.activeElement.blur()")
    ActionChains(page).move_to_element(find(page, "#diagram .dot1")[-1]).perform()
    assert marked(page) == [1, 1, 1]
    below = page.execute_script("return byId('charts').offsetTop")
    page.execute_script("goTo(0)")
    assert marked(page) == [0, 0, 0]
    # What lies below does not jump when there are fewer loops.
    assert page.execute_script("return byId('charts').offsetTop") == below
    assert page.get_log("browser") == []


def test_nearest_tokens_are_shown_as_text(browser, tmp_path):
    folder, loaded = tmp_path / "run", hard_vocabulary()
    table = loaded[0].get_input_embeddings().weight.detach()
    write(folder, {0: table[[3, 4, 5]], 1: table[-5:]})
    browser.get_log("browser")
    browser.get(analyze(folder, loaded=loaded, nearest=3, progress=False).files[-1].as_uri())
    nearest = "#token-table td:nth-child(2) .token"
    shown = [cell.text for cell in find(browser, nearest)]
    assert shown == ['\u2068"Question:"\u2069', '\u2068"Answer:"\u2069', '\u2068"x"\u2069']
    browser.execute_script("goTo(1)")
    shown = [cell.text.strip("\u2068\u2069") for cell in find(browser, nearest)]
    assert shown == [*map(quoted, HARD), f"#{len(table) - 1}"]
    assert [cell.text for cell in find(browser, "#token-table td:nth-child(2) .soft")] == ["0"] * 5
    by_euclidean = find(browser, "#token-table")[0].text
    browser.execute_script(
        "byId('metric').value = 'cosine'; byId('metric').dispatchEvent(new Event('change'))"
    )
    assert find(browser, "#token-table")[0].text != by_euclidean
    press(browser, "#diagram", "\ue015")  # The arrow down.
    assert "שלום" in find(browser, "#tip")[0].text or '"=1+1"' in find(browser, "#tip")[0].text
    assert browser.execute_script("return document.scripts.length") == 2
    assert browser.get_log("browser") == []


def test_table_caution_and_skipped_files(page):
    assert find(page, "#table tbody tr")[-1].text.startswith("the epoch itself")
    assert "not independent samples" in find(page, "#caution")[0].text
    assert "1 file skipped" in find(page, "#skipped summary")[0].text
    find(page, "#bars summary")[0].click()
    page.execute_script("goTo(1)")
    assert len(find(page, "#bar-table tbody tr")) == 12


def test_the_address_opens_one_epoch_and_play_runs_to_the_end(page, run):
    page.get(run.files[-1].as_uri() + "#3")
    page.refresh()
    assert find(page, "#where")[0].text == "epoch 3"
    find(page, "#play")[0].click()
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, 20).until(lambda p: find(p, "#where")[0].text == "epoch 4")
    WebDriverWait(page, 20).until(lambda p: find(p, "#play")[0].text == "Play")
    assert page.get_log("browser") == []


def write(folder, prompts):
    folder.mkdir()
    for epoch, x in prompts.items():
        torch.save(x, folder / f"soft_prompt_epoch_{epoch}.pt")
    return folder


def near_square(side=3.0, rest=1e-3):
    """Its one loop lives for a moment: between the sides and a diagonal hardly longer."""
    x = side / 2**0.5 * torch.eye(4)
    x[0, 0] += rest
    x[2, 2] += rest
    return x


def noise(seed, n=9, d=4):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# Which numbers come to lie at the axes is the noise's doing: these seeds are some that went wrong.
CROWDED = {
    "a-short-loop": {0: near_square(), 1: near_square(), 2: torch.eye(4)},
    "one-checkpoint": {7: near_square()},
    "one-row": {0: torch.ones(1, 4), 1: torch.ones(1, 4)},
    "equal-rows": {0: torch.ones(5, 4), 1: torch.ones(5, 4)},
    "huge": {0: 1e29 * noise(4), 1: 1e29 * noise(3), 10**15 - 1: 9e29 * near_square(1.0)},
    "tiny": {0: 1e-20 * noise(0), 3: 1e-19 * noise(0, 27)[18:]},
    "many-rows": {k: noise(k, 150, 8) for k in range(0, 3000, 100)},
}

OVERLAPS = """
const found = [];
for (const picture of document.querySelectorAll("figure > svg")) {
  const frame = picture.getBoundingClientRect();
  const texts = [...picture.querySelectorAll("text")];
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
  boxes.forEach(([name, a], i) => {
    const across = a.left < frame.left - 1 || a.right > frame.right + 1;
    if (across || a.top < frame.top - 1 || a.bottom > frame.bottom + 1)
      found.push(`${name} is cut off`);
    for (const [other, b] of boxes.slice(i + 1))
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
          && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2)
        found.push(`${name} | ${other}`);
  });
}
return found;
"""

TICKS = """
const texts = document.querySelectorAll(".charts svg text:not(.soft)");
const titleOf = (text) => text.closest("figure").querySelector("h2").textContent;
const anchorOf = (text) => text.getAttribute("text-anchor");
return [...texts].map((text) => [text.textContent, titleOf(text), anchorOf(text)]);
"""


@pytest.mark.parametrize("width", [380, 800, 1280])
@pytest.mark.parametrize("name", CROWDED)
def test_no_letters_lie_on_others_or_are_cut_off(browser, tmp_path, name, width):
    folder = write(tmp_path / name, CROWDED[name])
    page_file = analyze(folder, progress=False).files[-1]
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get_log("browser")
        browser.get(page_file.as_uri())
        for upwards in ("death", "lifetime"):
            browser.execute_script(f"byId('upwards').value = '{upwards}'; byId('fit').click()")
            for k in range(min(3, len(CROWDED[name]))):
                browser.execute_script(f"goTo({k})")
                assert browser.execute_script(OVERLAPS) == []
        assert browser.get_log("browser") == []
        scrolls = "return document.documentElement.scrollWidth > window.innerWidth"
        assert not browser.execute_script(scrolls)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_narrow_window_keeps_its_letters_and_a_resize_draws_anew(page):
    def letter():
        return page.execute_script(
            "const s = byId('diagram'); return 13 * s.getBoundingClientRect().width "
            "/ s.viewBox.baseVal.width"
        )

    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    wide = picture(page, "diagram")
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")
        assert letter() >= 9
        assert picture(page, "diagram") != wide
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_epochs_and_counts_have_whole_ticks(browser, tmp_path):
    folder = write(tmp_path / "run", {0: torch.eye(4), 1: torch.eye(4)})
    browser.get(analyze(folder, progress=False).files[-1].as_uri())
    texts = browser.execute_script(TICKS)
    epochs = [text for text, _, anchor in texts if anchor == "middle"]
    counts = [text for text, title, anchor in texts if (title, anchor) == ("feature counts", "end")]
    assert set(epochs) == {"0", "1"}
    assert all(count.isdigit() for count in counts)
    assert counts


def test_the_diagonal_is_one(page):
    page.execute_script("goTo(4)")
    line = "const l = document.querySelector('#diagram .diagonal'); return ['x1', 'y1', 'x2', 'y2']"
    x1, y1, x2, y2 = page.execute_script(f"{line}.map(a => Number(l.getAttribute(a)))")
    marks = page.execute_script(
        "return marks.filter(m => m.dim).map(m => [m.diagram.x, m.diagram.y, ...m.bar])"
    )
    for x, y, birth, death, *_ in marks:
        # Where the diagonal has this birth, upwards by the lifetime in the same unit.
        share = (x - x1) / (x2 - x1)
        on_diagonal = y1 + share * (y2 - y1)
        start = page.execute_script("return wholeRun.births1[0]")
        end = page.execute_script("return wholeRun.deaths1[1]")
        unit = (y1 - y2) / ((end - start) * 1.12)
        assert on_diagonal - y == pytest.approx((death - birth) * unit, rel=1e-3)
