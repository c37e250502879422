"""The pages, in a real browser: on a screen and a phone, light and dark, offline, whatever is put
in.
"""

import os
import re

import numpy as np
import pytest

from photometry.report.html import (
    Page,
    details,
    facts,
    figure,
    figures,
    ink,
    link,
    mark,
    picture,
    preformatted,
    table,
)  # fmt: skip

SCREENS = {"screen": (1280, 900), "phone": (390, 844)}
EVIL = '<script>document.title="owned"</script>"\'&'


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    from matplotlib.figure import Figure

    page = Page(f"Run {EVIL}", "a subtitle", footer="made by a test")
    page.section("Summary", facts({"OK": 981, EVIL: None, "fraction": 0.25, "all": True}))
    rows = [{"star": 25155310 + i, "reason": f"{EVIL} " * 5, "mag": 10.5} for i in range(40)]
    page.section("Failures", table(rows, caption=EVIL, total=1000), mark("bad", "bad"))
    with ink():
        figs = []
        for seed in range(2):
            fig = Figure(figsize=(5, 3), layout="constrained")
            ax = fig.add_subplot()
            x = np.random.default_rng(seed).normal(size=(2, 5000))
            ax.scatter(*x, s=1, rasterized=True)
            ax.set_xlabel("magnitude")
            figs.append(figure(fig, f"noise {EVIL}"))
    page.section("Summary", figures(*figs), note="twice the same heading")
    long_line = "x" * 500
    page.section("Log", preformatted(long_line), details("more", long_line, link("up", "#log")))
    path = tmp_path_factory.mktemp("page") / "page.html"
    return page.write(path)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_a_page_is_legible_and_complete_offline(browser, page_file, screen, scheme):
    width, height = SCREENS[screen]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
    )
    tab = context.new_page()
    problems, requests = [], []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto(page_file.as_uri())
    if folder := os.environ.get("PHOTOMETRY_SCREENSHOTS"):
        tab.screenshot(path=f"{folder}/page-{screen}-{scheme}.png", full_page=True)
    assert tab.title() == f"Run {EVIL}"
    assert not problems
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    ink_and_paper = tab.evaluate(
        "['color', 'backgroundColor'].map(n => getComputedStyle(document.body)[n])"
    )
    assert contrast(*ink_and_paper) > 7  # WCAG 2.1, level AAA
    text = tab.locator("svg text").first
    assert text.evaluate("e => getComputedStyle(e).fill") == ink_and_paper[0]
    for anchor in ("summary", "failures", "summary-2", "log"):
        assert tab.locator(f"#{anchor}").count() == 1
    context.close()


def contrast(first, second):
    """Contrast ratio of two colours, WCAG 2.1, success criterion 1.4.6."""
    light, dark = sorted(map(luminance, (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    levels = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in levels]
    return np.dot(linear, [0.2126, 0.7152, 0.0722])


def test_what_is_put_in_is_escaped_everywhere(page_file):
    text = page_file.read_text(encoding="utf-8")
    assert text.count("<script") == 1  # our own, which opens what a link leads to
    assert text.count("&lt;script&gt;") > 40


def test_the_unknown_is_a_dash_and_numbers_have_separators():
    html = str(table([[None, float("nan"), 12345, 0.5, "x"]], ["a", "b", "c", "d", "e"]))
    assert html.count('<td class="number">–</td>') == 2
    assert "12,345" in html
    assert "<td>x</td>" in html


def test_a_table_that_is_cut_says_so():
    assert "2 of 1,000 rows are shown" in table([[1], [2]], ["n"], total=1000)
    assert "rows are shown" not in table([[1], [2]], ["n"], total=2)
    assert "<tbody></tbody>" in table([], ["n"])


def test_a_picture_is_part_of_the_page():
    assert 'src="data:image/png;base64,iVBO' in picture(b"\x89PNG\r\n", "a stamp")


def test_the_same_content_gives_the_same_bytes():
    from matplotlib.figure import Figure

    def made():
        with ink():
            fig = Figure(figsize=(3, 2))
            fig.add_subplot().plot([1, 2, 3])
            return figure(fig, "a line")

    first, second = made(), made()
    assert first == second
