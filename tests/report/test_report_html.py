"""report.html: one file that needs nothing else, follows the theme, and says what the Markdown pages say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from typing import Any

import pytest

from paramalloc.files import atomic_write
from paramalloc.report.html import REFRESH_SECONDS, render_page
from paramalloc.report.live import LivePage, write_live_page
from paramalloc.report.theme import themed
from paramalloc.results import RANKING, ResultsFolder

SVG = """<?xml version="1.0"?><!DOCTYPE svg>
<svg width="252pt" height="100pt" viewBox="0 0 252 100" xmlns="http://www.w3.org/2000/svg"><metadata>x</metadata>
<defs><path id="p1" d="M 0 0"/></defs><g clip-path="url(#p1)"><use href="#p1" style="stroke: #0072b2"/></g></svg>"""


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self._quiet = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._quiet = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._quiet = False

    def handle_data(self, data: str) -> None:
        self.words += "" if self._quiet else data

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def page(embed_report: ResultsFolder) -> Page:
    return Page(embed_report.html.read_text())


def test_nothing_is_loaded_from_anywhere(embed_report: ResultsFolder, page: Page) -> None:
    loading = {"src", "srcset", "data", "poster", "action"}
    assert not [attributes for _, attributes in page.tags if loading & attributes.keys()]
    assert page.all("link") == []
    assert not re.findall(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", embed_report.html.read_text())
    hrefs = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    anchors = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert all(href in anchors or (embed_report.root / str(href)).is_file() for href in hrefs)
    (policy,) = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_both_pages_and_every_figure_are_in_it_once(embed_report: ResultsFolder, page: Page) -> None:
    for path in (embed_report.report, embed_report.results_page):
        for heading in re.findall(r"^##+ (.+)$", path.read_text(), re.MULTILINE):
            assert heading in page.words or heading == "Variants"  # there the table stands under Results
    shown = [attributes["aria-label"] for attributes in page.all("svg")]
    assert len(shown) == len(set(shown)) == len(list(embed_report.figures.glob("*.svg")))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_every_reference_within_a_figure_leads_somewhere(embed_report: ResultsFolder) -> None:
    text = embed_report.html.read_text()
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    references = set(re.findall(r'xlink:href="#([^"]+)"|url\(#([^)]+)\)', text))
    assert references
    assert {first or second for first, second in references} <= ids


def test_figures_take_the_colours_of_the_page() -> None:
    element = themed(SVG, "curves", "Curves")
    root = ElementTree.fromstring(element)
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == (None, None, "0 0 252 100")
    assert root.get("aria-label") == "Curves"
    assert "stroke: var(--blue)" in element
    assert '<path id="curves-p1"' in element
    assert 'href="#curves-p1"' in element
    assert "url(#curves-p1)" in element
    assert "metadata" not in element


def test_every_colour_of_a_figure_has_a_variable_in_both_themes(embed_report: ResultsFolder) -> None:
    text = embed_report.html.read_text()
    used = set(re.findall(r"var\(--([a-z]+)\)", text))
    light, dark = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    for theme in (light, dark):
        assert used <= set(re.findall(r"--([a-z]+):", theme))
    svgs = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", svgs)) == set()


def test_text_of_result_files_adds_no_markup() -> None:
    text = render_page("# <b>x</b>: a\n\n<script>alert(1)</script>\n\n- **<img src=x>**", {})
    assert "<script>alert" not in text
    assert Page(text).all("img") == []
    assert "<title>&lt;b&gt;x&lt;/b&gt;: a</title>" in text


def test_only_a_running_sweep_loads_its_page_again(embed_sweep: Any, new_sweep: Any, shares: Any) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=312.0)
    write_live_page(sweep.folder, running=True)
    page = Page(sweep.folder.html.read_text())
    refresh = [a["content"] for a in page.all("meta") if a.get("http-equiv") == "refresh"]
    assert refresh == [str(REFRESH_SECONDS)]
    assert "ranking: 1 of 1 begun have ended" in page.words
    assert "1970-01-12 14:16:40 UTC" in page.words  # the time of the newest event, not of the writing
    assert len(page.all("svg")) == 1
    write_live_page(sweep.folder, running=False)
    assert "refresh" not in sweep.folder.html.read_text()


def test_the_live_page_rests_a_minute_and_twenty_times_as_long_as_a_page_takes(new_sweep: Any, shares: Any) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    rests: list[float] = []
    times = iter([0.0, 0.5, 100.0, 110.0])  # pages of half a second and of ten

    def pause(seconds: float) -> bool:
        rests.append(seconds)
        return len(rests) == 3

    LivePage(sweep.folder, clock=lambda: next(times), pause=pause).run()
    assert rests[1:] == [60.0, 200.0]
    assert sweep.folder.html.exists()


def test_a_page_that_cannot_be_made_takes_no_other_error_away(
    new_sweep: Any, shares: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("a figure that does not work out")

    sweep = new_sweep(shares[:2])
    sweep.begin()
    monkeypatch.setattr("paramalloc.report.live.write_live_page", broken)
    with pytest.raises(KeyboardInterrupt), LivePage(sweep.folder):
        raise KeyboardInterrupt


def test_a_sweep_that_breaks_off_leaves_a_page_that_stands_still(new_sweep: Any, shares: Any) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    write_live_page(sweep.folder, running=True)
    with pytest.raises(KeyboardInterrupt), LivePage(sweep.folder):
        raise KeyboardInterrupt
    assert "refresh" not in sweep.folder.html.read_text()


def test_a_damaged_file_costs_a_page_and_nothing_else(new_sweep: Any, shares: Any) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    atomic_write(sweep.folder.plan, "{")
    ends = iter([False, True])
    LivePage(sweep.folder, pause=lambda seconds: next(ends)).run()
    assert not sweep.folder.html.exists()
