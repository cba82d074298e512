"""The site: these pages as they are, by Sphinx with MyST; `make docs` builds it and takes every warning as an error."""

# ruff: noqa: INP001 -- Sphinx reads it from its file
project = "Guildhall"
author = "the Guildhall authors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "Guildhall"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
nitpicky = True
exclude_patterns = ["_build"]
suppress_warnings = [
    "misc.highlighting_failure",  # a page may leave something out of its SQL with …
    "toc.multiple_toc_parents",  # the last list of the index has every page, so that none is lost
]
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
pygments_style = "default"
highlight_language = "none"
