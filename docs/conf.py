"""The documentation as a site: `sphinx-build -W docs build/docs`. Works offline, and loads nothing from other hosts."""

import sys
from pathlib import Path

from sanic_qserver import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "sanic_qserver"
author = "the sanic_qserver authors"
copyright = f"2026, {author}"  # noqa: A001  # Sphinx's name
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "http_api"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext"]
nitpicky = False  # types of other projects are not resolved: that would need their inventories, from other hosts

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 4
suppress_warnings = ["myst.xref_ambiguous"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"sanic_qserver {release}"
html_copy_source = False
