"""Configuration of the documentation; ``make docs`` builds it."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx_gallery.sorting import ExplicitOrder

import dlngeom

project = "dlngeom"
author = "The dlngeom developers"
copyright = author
release = version = dlngeom.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    # Formulas without a request to another server.
    "sphinx-mathjax-offline",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
]
# The latter is left by builds of before, and loads scripts of another server.
exclude_patterns = ["gallery/*", "sg_execution_times.rst"]
templates_path = ["_templates"]

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
autodoc_typehints = "none"
autodoc_preserve_defaults = True
viewcode_follow_imported_members = False
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
copybutton_exclude = ".linenos, .gp, .go"

GALLERY = (
    "foliation",
    "orbits",
    "motion_by_curvature",
    "submersion",
    "rank_one_variety",
    "simons_cone",
    "gauge_noise",
    "rank_jumps",
    "low_rank_limits",
    "free_energy_landscape",
    "selection",
    "temperature",
    "diagnostics",
    "equilibrium_law",
    "spacings",
    "cluster_means",
    "torch_training",
    "null_directions",
    "fourier_scales",
)


sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "examples",
    # A script that is missing from the list is an error.
    "within_subsection_order": ExplicitOrder([f"plot_{name}.py" for name in GALLERY]),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    # Sharp on fine screens, and thumbnails that can be read.
    "image_srcset": ["2x"],
    "thumbnail_size": (520, 390),
    "min_reported_time": 1e9,
    # Its pages load scripts of another server.
    "write_computation_times": False,
}


def entries(room: str) -> list[tuple[str, str]]:
    """Directives and names of a room's page, with those that its docstring names first."""
    face = importlib.import_module(room)
    named = re.findall(r":(?:class|func|exc):`~?\.?([\w.]+)`", face.__doc__ or "")
    order = {name: place for place, name in reversed(list(enumerate(named)))}

    def place(entry: tuple[str, str]) -> tuple[int, int]:
        kinds = ("autoclass", "autofunction", "autodata", "autoexception")
        return order.get(entry[1], len(named)), kinds.index(entry[0])

    return sorted(((_directive(getattr(face, x)), x) for x in _own(face)), key=place)


def _own(face: Any) -> list[str]:
    """Public names, without those that have their entry on the page of another room."""
    elsewhere = {"SVD", "Tangent", "LowRank", "Frames"}
    if face.__name__ == "dlngeom.flow":
        elsewhere.add("Trajectory")
    return [
        x for x in face.__all__ if x not in elsewhere and not inspect.ismodule(getattr(face, x))
    ]


def _directive(entry: object) -> str:
    if inspect.isclass(entry):
        return "autoexception" if issubclass(entry, BaseException) else "autoclass"
    return "autofunction" if callable(entry) and hasattr(entry, "__code__") else "autodata"


ROOMS = re.findall(
    r"^ +(dlngeom\.[\w.]+)$", Path(__file__).with_name("api").joinpath("index.md").read_text(), re.M
)
autosummary_context = {"entries": {room: entries(room) for room in ROOMS}}


def skip_aliases(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any
) -> bool | None:
    """Leave out the fields of tuples, which the docstrings of the tuples describe."""
    return True if (inspect.getdoc(obj) or "").startswith("Alias for field number") else None


def see_also(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Hand the side bar the places on other pages that the See Also sections name."""
    sections = doctree.findall(addnodes.seealso) if doctree else ()
    links = (x for section in sections for x in section.findall(nodes.reference))
    # Those on the page itself have a refid instead, and stand in its contents.
    found = {(x["refuri"], x["reftitle"].removeprefix("dlngeom.")) for x in links if "refuri" in x}
    context["see_also"] = sorted(found, key=lambda link: link[1].casefold())


def setup(app: Sphinx) -> None:
    """Connect what this file adds."""
    app.connect("autodoc-skip-member", skip_aliases)
    app.connect("html-page-context", see_also)


html_theme = "pydata_sphinx_theme"
html_title = "dlngeom"
html_favicon = "_static/favicon.svg"
html_logo = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["dlngeom.css"]
html_theme_options = {
    "logo": {"text": "dlngeom", "alt_text": "dlngeom - home"},
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
    "header_links_before_dropdown": 5,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc", "see-also"],
    "show_prev_next": True,
}
# Pages in no folder have nothing beside them to list.
html_sidebars = {"*": []}
