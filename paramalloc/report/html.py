"""report.html: the whole report as one file that needs nothing else, for light and dark, wide and narrow screens.

Always holds: its text is that of REPORT.md and RESULTS.md, turned into HTML and nothing added; it loads nothing from
anywhere; what stands in result files can add no markup; tables sort where JavaScript runs and read well without.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from importlib.resources import files

from markdown_it import MarkdownIt

from paramalloc.report.theme import themed

REFRESH_SECONDS = 60
_IMAGE = re.compile(r"!\[([^\]]*)\]\(figures/([^)]+)\.png\)")
_HEADING = re.compile(r"<h2>(.*?)</h2>")
_ASSETS = files("paramalloc.report") / "assets"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def render_page(markdown: str, svgs: Mapping[str, str], running: str | None = None) -> str:
    """The page.

    Args:
        markdown: the text; its galleries (tables whose cells are pictures) name figures as `figures/<name>.png`.
        svgs: SVG documents by figure name; a picture without one is left out with its caption.
        running: a sentence about a sweep that is under way; such a page loads itself again every minute.
    """
    title = markdown.partition("\n")[0].removeprefix("# ")
    body, sections = _with_anchors(_blocks(markdown, svgs))
    links = "".join(f'<a href="#{anchor}">{text}</a>' for anchor, text in sections.items())
    state = f'<p class="running">{html.escape(running)}</p>' if running else ""
    refresh = f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">\n' if running else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
{refresh}<title>{html.escape(title)}</title>
<style>
{_asset("page.css")}</style>
</head>
<body>
<nav aria-label="Sections"><div>{links}</div></nav>
<main>
{state}
{body}
</main>
<script>
{_asset("page.js")}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


def _blocks(markdown: str, svgs: Mapping[str, str]) -> str:
    """The body; galleries that follow each other become one."""
    body = "\n".join(_block(block, svgs) for block in markdown.split("\n\n"))
    return body.replace('</div>\n<div class="gallery">', "")


def _block(block: str, svgs: Mapping[str, str]) -> str:
    lines = block.splitlines()
    if len(lines) == 3 and lines[2].startswith("| !["):
        pictures = _IMAGE.findall(lines[2])
        shown = "".join(_figure(caption, name, svgs[name]) for caption, name in pictures if name in svgs)
        return f'<div class="gallery">{shown}</div>' if shown else ""
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(block)
    return rendered.replace("<table>", '<div class="table"><table>').replace("</table>", "</table></div>")


def _figure(caption: str, name: str, svg: str) -> str:
    said = html.escape(caption[:1].upper() + caption[1:])
    return f"<figure><figcaption>{said}</figcaption>{themed(svg, name, said)}</figure>"


def _with_anchors(body: str) -> tuple[str, dict[str, str]]:
    """The body with an id on every section's heading, and the headings by id."""
    sections: dict[str, str] = {}

    def anchored(found: re.Match[str]) -> str:
        anchor = re.sub(r"[^a-z0-9]+", "-", found[1].lower()).strip("-")
        sections[anchor] = found[1]
        return f'<h2 id="{anchor}">{found[1]}</h2>'

    return _HEADING.sub(anchored, body), sections
