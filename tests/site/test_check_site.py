"""The check of the built site notices what it is there for."""

import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "docs" / "check_site.py"


@pytest.fixture
def check():
    spec = importlib.util.spec_from_file_location("check_site", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def site(root, check, body, without=""):
    names = sorted(set(check.SEARCHED.values()))
    titles = {x: [[names.index(p), None]] for x, p in check.SEARCHED.items() if x != without}
    index = json.dumps({"docnames": names, "alltitles": titles})
    (root / "searchindex.js").write_text(f"Search.setIndex({index})")
    (root / "index.html").write_text(f'<h1>A title<a href="#a">#</a></h1><p id="a"></p>{body}')
    return check.faults(root)


def test_a_good_page_has_no_fault(tmp_path, check):
    body = '<a href="https://pymanopt.org">x</a><img src="index.html" alt="a text">'
    assert site(tmp_path, check, body) == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="none.html">x</a>', "dead link none.html"),
        ('<a href="#none">x</a>', "dead anchor #none"),
        ('<img src="index.html">', "no text for index.html"),
        ('<script src="https://cdn.org/a.js"></script>', "from another server"),
        ('<link href="//cdn.org/a.css" rel="stylesheet">', "from another server"),
        ("<dd>Alias for field number 0</dd>", "1 fields without a description"),
        ('<nav><div class="bd-toc-item navbar-nav"></div></nav>', "lists nothing"),
        ("<h1>dlngeom.thermodynamics.equilibrium</h1>", "does not fit a phone"),
    ],
)
def test_a_fault_is_one_line(tmp_path, check, body, fault):
    (line,) = site(tmp_path, check, body)
    assert line.startswith("index.html: ")
    assert fault in line


@pytest.mark.parametrize("word", ["initialisation", "burn-in", "R-hat", "rank", "sparse"])
def test_a_word_that_no_title_has_is_a_fault(tmp_path, check, word):
    (line,) = site(tmp_path, check, "", without=word)
    assert line == f"{check.SEARCHED[word]}: no section that a search for {word} finds"


SECTION = '<div class="admonition seealso"><div><a href="b.html#b">b</a></div></div>'
SIDE_BAR = '<nav class="see-also"><a href="b.html#b">b</a></nav>'


@pytest.mark.parametrize(
    ("folder", "body", "lacks"),
    [
        ("api", SECTION, True),
        ("api", SECTION + SIDE_BAR, False),
        ("api", SECTION.replace("b.html", ""), False),
        ("api", '<a href="b.html#b">b</a>', False),
        # Pages that have the directive in their text say there what it is for.
        ("guide", SECTION, False),
    ],
)
def test_side_bars_of_the_api_list_what_see_also_names(tmp_path, check, folder, body, lacks):
    site(tmp_path, check, "")
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "a.html").write_text(f'<h1>A</h1><p id="b"></p>{body}')
    (tmp_path / folder / "b.html").write_text('<h1>B</h1><p id="b"></p>')
    expected = [f"{folder}/a.html: the side bar lacks b.html#b"] * lacks
    assert check.faults(tmp_path) == expected
