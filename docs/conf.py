"""Configuration of the documentation."""

import json
from pathlib import Path

from photometry import __version__

project = "photometry"
author = "the photometry developers"
copyright = "2026, the photometry developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"photometry {release}"
napoleon_google_docstring = False
autodoc_member_order = "bysource"
suppress_warnings = ["myst.header"]


def notebook_as_page(app):
    """Write ``tutorial.ipynb`` as a page; a test runs it."""
    source = Path(app.srcdir, "tutorial.ipynb")
    parts = []
    for cell in json.loads(source.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    title, *rest = parts
    note = "This page is a notebook, {download}`tutorial.ipynb <../tutorial.ipynb>`: run it."
    page = Path(app.srcdir, "_generated", "tutorial.md")
    page.parent.mkdir(exist_ok=True)
    text = "\n\n".join([title, note, *rest]).replace("](", "](../")
    page.write_text(text + "\n", encoding="utf-8")


def setup(app):
    app.connect("builder-inited", notebook_as_page)
