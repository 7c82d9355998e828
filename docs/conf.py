"""How Sphinx builds these pages."""

import re
from dataclasses import fields, is_dataclass

project = "prefrl"
author = "The prefrl authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
highlight_language = "none"
html_theme = "furo"
html_title = "prefrl"
html_show_copyright = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "code"
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
maximum_signature_line_length = 100
python_use_unqualified_type_names = True

ARRAY = "~numpy.ndarray[tuple[~typing.Any, ...], ~numpy.dtype[~typing.Any]]"


def describe(app, what, name, obj, options, lines):
    """Docstrings are plain words with code in backticks, in which reStructuredText would see markup."""
    lines[:] = [re.sub(r"([*|])", r"\\\1", line) for line in lines]
    if is_dataclass(obj):
        lines += [f":param {f.name}: {f.metadata['help']}" for f in fields(obj) if "help" in f.metadata]


def shorten(app, what, name, obj, options, signature, returned):
    """`Array` by its name: autodoc has only what it stands for."""
    return signature and signature.replace(ARRAY, "Array"), returned and returned.replace(ARRAY, "Array")


def offer(app, path, including, content):
    """What README links to: these pages, and what lies beside them, to download; images are found by themselves."""
    content[0] = re.sub(r"(?<!!)(\[[^]]*\])\((experiments/)", r"\1(path:../\2", content[0].replace("](docs/", "]("))


def setup(app):
    app.connect("autodoc-process-docstring", describe)
    app.connect("autodoc-process-signature", shorten)
    app.connect("include-read", offer)
