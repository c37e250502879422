"""`Page`: the one writer of HTML, for the pages of a run, of a chain and of transient candidates.

A page is one file that opens offline, on a screen and on a phone, light and dark. Everything that
is put in is escaped; what the functions here return is `Markup`, safe to put in again. ::

    page = Page("Run 3", "DIR, 1,000 targets")
    page.section("Summary", facts({"OK": 981, "ERROR": 19}))
    page.section("Noise", figure(fig, "1-hour noise against magnitude"))
    page.write("report.html")
"""

import base64
import io
import re
import zlib
from pathlib import Path

from markupsafe import Markup, escape

from ..files import atomic_write

_INK = "#010203"
"""Colour in which figures draw text and lines; becomes the page's own text colour, light or dark.
"""

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ title }}</title>
<style>
:root { --ink: #1c2127; --paper: #ffffff; --faint: #5c6670; --line: #d4d9de; --band: #f4f6f8;
  --link: #0b5cad; --good: #1a7f37; --bad: #c62828; --doubt: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e7eb; --paper: #14181c; --faint: #9aa5b0;
  --line: #333b43; --band: #1c2227; --link: #74b3f2; --good: #5cc878; --bad: #ff8a80;
  --doubt: #e0b050; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: .5rem 0 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem;
  border-bottom: 1px solid var(--line); padding-bottom: .2rem; }
p.subtitle, p.note, figcaption, caption { color: var(--faint); } p.subtitle { margin: 0 0 1rem; }
a { color: var(--link); } td a { white-space: nowrap; }
nav a { margin-right: 1rem; display: inline-block; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); } td.number, th.number { text-align: right; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: .5rem 0; }
dt { color: var(--faint); } dd { margin: 0; }
figure { margin: 1rem 0; } figure svg, figure img { max-width: 100%; height: auto; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
  gap: 1rem; }
pre { background: var(--band); padding: .7rem; overflow-x: auto; white-space: pre-wrap; }
details > summary { cursor: pointer; } .good { color: var(--good); } .bad { color: var(--bad); }
.doubt { color: var(--doubt); }
footer { margin-top: 3rem; color: var(--faint); font-size: .9rem; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; } }
</style>
</head>
<body>
<header><h1>{{ title }}</h1><p class="subtitle">{{ subtitle }}</p>
{% if sections|length > 2 %}<nav>{% for s in sections if s.heading %}
<a href="#{{ s.anchor }}">{{ s.heading }}</a>
{% endfor %}</nav>{% endif %}</header>
<main>
{% for s in sections %}<section id="{{ s.anchor }}">
{% if s.heading %}<h2>{{ s.heading }}</h2>{% endif %}
{% if s.note %}<p class="note">{{ s.note }}</p>{% endif %}
{% for part in s.parts %}{{ part }}
{% endfor %}</section>
{% endfor %}</main>
<footer>{{ footer }}</footer>
<script>
function unfold() { var e = document.getElementById(location.hash.slice(1));
  for (e = e && e.closest("details"); e; e = e.parentElement.closest("details")) e.open = true; }
addEventListener("hashchange", unfold); unfold();
</script>
</body>
</html>
"""


class Page:
    """A page, section by section.

    Parameters
    ----------
    title, subtitle : str
    footer : str, what made it and from what
    """

    def __init__(self, title, subtitle="", footer=""):
        self.title, self.subtitle, self.footer = title, subtitle, footer
        self._sections = []

    def section(self, heading, *parts, note="", anchor=None):
        """Add a section.

        Parameters
        ----------
        heading : str, '' for none
        parts : Markup of the functions below, or str, which becomes a paragraph
        note : str, a line below the heading
        anchor : str, what follows ``#`` in links to it; default: the heading, in lower case
        """
        anchor = anchor or re.sub(r"[^a-z0-9]+", "-", heading.lower()).strip("-") or "section"
        taken = {section["anchor"] for section in self._sections}
        number = 2
        while anchor in taken:
            anchor, number = f"{anchor.rstrip('0123456789-')}-{number}", number + 1
        parts = [part if isinstance(part, Markup) else _element("p", part) for part in parts]
        self._sections.append({"heading": heading, "parts": parts, "note": note, "anchor": anchor})

    def html(self):
        """The page as text."""
        import jinja2  # here, so that who only looks at a summary need not load it

        template = jinja2.Environment(autoescape=True).from_string(_TEMPLATE)
        return template.render(
            title=self.title,
            subtitle=self.subtitle,
            sections=self._sections,
            footer=self.footer,
        )

    def write(self, path):
        """Write the page, atomically. Returns the path."""
        path = Path(path)
        with atomic_write(path) as part:
            part.write_text(self.html(), encoding="utf-8")
        return path


def table(rows, columns=None, *, caption="", total=None):
    """A table that scrolls sideways where it is too wide.

    Parameters
    ----------
    rows : list of sequences, or of dicts
    columns : list of str; default: the keys of the first dict
    caption : str
    total : int, how many rows there are where ``rows`` are only the first of them: a line says so

    Returns
    -------
    Markup
    """
    rows = list(rows)
    if rows and isinstance(rows[0], dict):
        columns = list(columns or rows[0])
        rows = [[row.get(column) for column in columns] for row in rows]
    cells = list(zip(*rows, strict=True)) if rows else [()] * len(columns or ())
    numeric = [
        bool(column) and all(value is None or isinstance(value, int | float) for value in column)
        for column in cells
    ]
    kinds = [Markup(' class="number"') if is_number else Markup("") for is_number in numeric]
    head = Markup("").join(
        Markup("<th{} scope=col>{}</th>").format(kind, column)
        for kind, column in zip(kinds, columns or (), strict=True)
    )
    body = Markup("\n").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup("<td{}>{}</td>").format(kind, _value(value))
                for kind, value in zip(kinds, row, strict=True)
            )
        )
        for row in rows
    )
    more = ""
    if total is not None and total > len(rows):
        more = _element("p", f"{len(rows):,} of {total:,} rows are shown.")
    return Markup(
        '<div class="scroll"><table>{}<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>{}'
    ).format(_element("caption", caption) if caption else "", head, body, more)


def facts(pairs):
    """Names and values, one below the other: a dict or a list of pairs to Markup."""
    pairs = pairs.items() if isinstance(pairs, dict) else pairs
    lines = (Markup("<dt>{}</dt><dd>{}</dd>").format(name, _value(value)) for name, value in pairs)
    return Markup("<dl>{}</dl>").format(Markup("").join(lines))


def figure(fig, caption="", *, alt=None):
    """A matplotlib figure, as part of the page, in the page's own text colour.

    Parameters
    ----------
    fig : matplotlib Figure drawn within `ink`; rasterize artists of many points to keep it small
    caption : str
    alt : str, what it shows in words; default: the caption

    Returns
    -------
    Markup
    """
    file = io.StringIO()
    fig.savefig(file, format="svg", transparent=True, bbox_inches="tight")
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    # matplotlib numbers its clip paths alike in each figure of a page
    token = f"f{zlib.crc32(svg.encode()):08x}"
    svg = re.sub(r'id="([^"]+)"', rf'id="{token}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\1{token}-", svg)
    label = escape(alt or caption or "figure")
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return Markup("<figure>{}{}</figure>").format(Markup(svg), _element("figcaption", caption))


def ink():
    """A context in which matplotlib draws text and axes in the page's own text colour."""
    import matplotlib as mpl

    colours = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    )
    return mpl.rc_context({**colours, "svg.fonttype": "none", "figure.facecolor": "none",
                           "axes.facecolor": "none", "legend.framealpha": 0.0,
                           "svg.hashsalt": "photometry"})  # fmt: skip


def picture(png, caption="", *, alt=None):
    """A PNG (bytes) as part of the page.

    Parameters
    ----------
    png : bytes
    caption : str
    alt : str, what it shows in words; default: the caption

    Returns
    -------
    Markup
    """
    content = base64.b64encode(png).decode("ascii")
    return Markup('<figure><img alt="{}" src="data:image/png;base64,{}">{}</figure>').format(
        alt or caption, content, _element("figcaption", caption)
    )


def figures(*parts):
    """Figures and pictures side by side where the page is wide enough."""
    return Markup('<div class="figures">{}</div>').format(Markup("").join(parts))


def link(text, href):
    """A link to a page, or with ``#`` to a section of this one."""
    return Markup('<a href="{}">{}</a>').format(href, text)


def details(summary, *parts):
    """Parts that are shown when one opens them."""
    content = Markup("").join(
        part if isinstance(part, Markup) else _element("p", part) for part in parts
    )
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, content)


def preformatted(text):
    """Text as it is: logs, commands."""
    return _element("pre", text)


def mark(text, kind):
    """A word in a colour: ``kind`` is 'good', 'bad' or 'doubt'."""
    return Markup('<span class="{}">{}</span>').format(kind, text)


def _element(name, content):
    return Markup("<{0}>{1}</{0}>").format(Markup(name), content)


def _value(value):
    """A value as people read it: what is not known is a dash, numbers have separators."""
    if value is None or (isinstance(value, float) and value != value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**7 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return value
