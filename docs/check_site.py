"""Check the built site: links, pictures, titles, side bars, other servers, and the search."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

# Letters of a word of a title that a phone shows in one line.
WORD = 20
# What people look for, and the page with a section on it.
SEARCHED = {
    "initialisation": "guide/optimise",
    "burn-in": "guide/sample",
    "R-hat": "guide/sample",
    "rank": "guide/complete",
    "sparse": "guide/complete",
}


class Page(HTMLParser):
    """Links, anchors, pictures, titles, sources and See Also of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.silent: list[str] = []
        self.foreign: list[str] = []
        self.words: list[str] = []
        self.in_title = False
        self.see_also: set[str] = set()
        self.beside: set[str] = set()
        self.depth = 0
        self.in_side_bar = False
        text = path.read_text(encoding="utf-8")
        self.empty = text.count("Alias for field number")
        self.bare = '<div class="bd-toc-item navbar-nav"></div>' in text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag refers to, and what can refer to it."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.links |= {given[name] for name in ("href", "src") if given.get(name)}
        # The title of a page stands beside its thumbnail.
        if tag == "img" and not given.get("alt", "").strip() and "_thumb" not in given["src"]:
            self.silent.append(given["src"])
        source = given.get("src", given.get("href", "") if tag == "link" else "")
        if urlsplit(source).netloc:
            self.foreign.append(source)
        self.in_title |= tag == "h1"
        self._note_see_also(tag, given)

    def _note_see_also(self, tag: str, given: dict[str, str]) -> None:
        """Note what a See Also section names on other pages, and what the side bar does."""
        classes = given.get("class", "").split()
        self.depth += tag == "div" and (self.depth > 0 or "seealso" in classes)
        self.in_side_bar |= tag == "nav" and "see-also" in classes
        if tag == "a" and self.in_side_bar:
            self.beside.add(given.get("href", ""))
        elif tag == "a" and self.depth and not given.get("href", "").startswith("#"):
            self.see_also.add(given.get("href", ""))

    def handle_endtag(self, tag: str) -> None:
        """Note where a title, a See Also section or the side bar ends."""
        self.in_title &= tag != "h1"
        self.depth -= tag == "div" and self.depth > 0
        self.in_side_bar &= tag != "nav"

    def handle_data(self, data: str) -> None:
        """Note the words of a title."""
        if self.in_title:
            self.words += data.split()


def faults(root: Path) -> list[str]:
    """One line for each thing that is wrong."""
    pages = {
        path: Page(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts
    }
    found = []
    for path, page in pages.items():
        name = path.relative_to(root)
        found += [f"{name}: no text for {source}" for source in page.silent]
        found += [f"{name}: loads {source} from another server" for source in page.foreign]
        found += [f"{name}: a side bar that lists nothing"] * page.bare
        found += [f"{name}: {page.empty} fields without a description"] * (page.empty > 0)
        # Titles of source code are paths, and the theme breaks them.
        long = [x for x in page.words if len(x) > WORD and "_modules" not in path.parts]
        found += [f"{name}: the title's {word} does not fit a phone" for word in long]
        missing = sorted(page.see_also - page.beside) if "api" in name.parts else ()
        found += [f"{name}: the side bar lacks {link}" for link in missing]
        found += [f"{name}: {fault}" for fault in _dead(path, page, pages)]
    return found + _not_found(root)


def _dead(path: Path, page: Page, pages: dict[Path, Page]) -> list[str]:
    """Links of a page that lead nowhere."""
    found = []
    for link in sorted(page.links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target, anchor = urldefrag(unquote(link))
        place = (path.parent / urlsplit(target).path).resolve() if target else path
        place = place / "index.html" if place.is_dir() else place
        if not place.exists():
            found.append(f"dead link {link}")
        elif anchor and place in pages and anchor not in pages[place].anchors:
            found.append(f"dead anchor {link}")
    return found


def _not_found(root: Path) -> list[str]:
    """Words without a title where people look for them."""
    text = (root / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    found = []
    for word, page in SEARCHED.items():
        places = {
            index["docnames"][document]
            for title, entries in index["alltitles"].items()
            if word.casefold() in title.casefold()
            for document, _ in entries
        }
        if page not in places:
            found.append(f"{page}: no section that a search for {word} finds")
    return found


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    lines = faults(root)
    print("\n".join(lines) or f"{root}: nothing to mend")
    sys.exit(bool(lines))
