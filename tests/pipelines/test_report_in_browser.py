"""The report as people meet it: in a real browser, at the size of a laptop and of a phone, by day and by night."""

from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest
from browser import Browser, open_browser
from reported import make_dataset
from run_folders import write_captioner_run, write_model_run

from pipelines.report.dataset_page import ReportConfig, dataset_page
from pipelines.report.page import write_page
from pipelines.report.run_page import run_page

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)

_CONTRAST = """
const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const color = numbers(getComputedStyle(node).backgroundColor);
    if (color.length === 3) return color;
  }
  return [255, 255, 255];
};
const poor = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !node.checkVisibility()) continue;
  if (node.closest("script, svg, option, .tag, .skip")) continue;  // charts and tags have a ground of their own
  const [a, b] = [light(numbers(getComputedStyle(node).color)), light(behind(node))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  if (ratio < 4.5) poor.push(`${node.className || node.tagName}: ${ratio.toFixed(2)}`);
}
return poor;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(browser, drawn_footage, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    dataset = make_dataset(drawn_footage, folder / "data")
    html = {
        "dataset": dataset_page(dataset, ReportConfig(), now=NOW),
        "model run": run_page(write_model_run(folder / "model"), None, now=NOW),
        "captioner run": run_page(write_captioner_run(folder / "captioner"), None, now=NOW),
    }
    for name, text in html.items():
        write_page(folder / f"{name}.html", text)
    return {name: folder / f"{name}.html" for name in html}


@pytest.fixture(params=["dataset", "model run", "captioner run"])
def page(request, pages) -> Path:
    return pages[request.param]


def visible(browser: Browser, form: str) -> list[dict]:
    return browser.run(
        """return [...document.querySelectorAll(`[data-items=${arguments[0]}] [data-item]`)]
               .filter((node) => node.checkVisibility()).map((node) => ({...node.dataset}))""",
        form,
    )


def test_it_opens_without_an_error_and_every_picture_loads(browser, page):
    browser.open(page)
    assert browser.errors() == []
    pictures = browser.run(
        """return Promise.all([...document.images].map((image) =>
               image.decode().then(() => image.naturalWidth > 0, () => false)))"""
    )
    assert all(pictures)
    assert len(pictures) > (20 if page.stem == "dataset" else -1)
    loaded = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert "owned" not in browser.run("return document.title")


@pytest.mark.parametrize("width", [1440, 390, 320])
def test_nothing_sticks_out_to_the_side(browser, page, width):
    browser.open(page, width=width, height=844)
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    beyond = """return [...document.querySelectorAll('main :is(p, h2, h3, table, figure, svg, details, select, input)')]
        .filter((node) => node.checkVisibility() && node.getBoundingClientRect().right > innerWidth + 1
                && !node.closest('.scroll')).map((node) => node.className || node.tagName)"""
    assert browser.run(beyond) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(browser, page, scheme):
    browser.open(page, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert browser.run(_CONTRAST) == []
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 150) == (scheme == "dark")


def test_it_can_be_read_without_seeing_it(browser, page):
    browser.open(page)
    levels = browser.run(
        "return [...document.querySelectorAll('h1, h2, h3, h4')].map((node) => Number(node.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for nameless in (
        "[...document.images].filter((node) => !node.alt && !node.closest('[aria-hidden]'))",
        "[...document.querySelectorAll('svg, .bar')].filter((node) => !node.ariaLabel)",
        "[...document.querySelectorAll('select, input')].filter((node) => !node.labels.length)",
    ):
        assert browser.run(f"return {nameless}.length") == 0, nameless


def test_clips_are_filtered_by_state_reason_and_text(browser, pages):
    browser.open(pages["dataset"])
    everything = visible(browser, "clips")
    assert {item["state"] for item in everything} == {"kept", "filtered"}
    browser.choose("clips", "state", "filtered")
    filtered = visible(browser, "clips")
    assert filtered == [item for item in everything if item["state"] == "filtered"]
    said = browser.run("return document.querySelector('[data-filters=clips] output').textContent")
    assert said == f"{len(filtered)} of {len(everything)} shown"
    browser.choose("clips", "reason", "motion.min")
    assert {item["reason"] for item in visible(browser, "clips")} == {"motion.min"}
    browser.choose("clips", "state", "")
    browser.choose("clips", "reason", "")
    browser.type("clips", "IPSUM free")
    assert len(visible(browser, "clips")) == 1  # the clip with that caption
    browser.type("clips", "no such words")
    assert visible(browser, "clips") == []
    assert browser.run("return [...document.querySelectorAll('.sheet-of')].every((node) => node.hidden)")
    assert browser.errors() == []


def test_captions_and_failures_are_filtered_too(browser, pages):
    browser.open(pages["dataset"])
    browser.choose("captions", "place", "rejected")
    assert [(item["kind"], item["captioner"]) for item in visible(browser, "captions")] == [("short", "hf:tiny")]
    browser.choose("failures", "kind", "empty")
    assert {item["kind"] for item in visible(browser, "failures")} == {"empty"}
    assert len(visible(browser, "clips")) > 5  # each filter minds its own list


def test_a_link_of_the_funnel_leads_to_its_clips_even_when_they_were_filtered_away(browser, pages):
    browser.open(pages["dataset"])
    browser.choose("clips", "state", "kept")
    assert not browser.run("return document.getElementById('filtered-motion.min').checkVisibility()")
    browser.click(".funnel a[href='#filtered-motion.min']")
    browser.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.run("return document.getElementById('filtered-motion.min').checkVisibility()")
    top = browser.run("return document.getElementById('filtered-motion.min').getBoundingClientRect().top")
    assert 0 < top < 900


def test_a_clip_opens_to_show_its_frames_scores_and_captions(browser, pages):
    browser.open(pages["dataset"], width=390, height=844)
    before = browser.run("return document.querySelector('.clip .strip').getBoundingClientRect().width")
    browser.click(".clip summary")
    assert browser.run("return document.querySelector('.clip .strip').getBoundingClientRect().width") > 1.5 * before
    about = browser.run("return document.querySelector('.clip .about').innerText")
    for said in ("kept", "motion", "sharpness", "reelwright explain", "by coca:mine"):
        assert said in about


def test_on_paper_there_are_no_controls_and_the_ground_is_white(browser, pages):
    browser.open(pages["dataset"], scheme="dark", media="print")
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browser.run("return [...document.querySelectorAll('form, nav')].some((node) => node.checkVisibility())")
