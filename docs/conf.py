"""Configuration of the documentation."""

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
