"""Check the built site: no dead link or anchor inside it, and a text for every picture."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit


class Page(HTMLParser):
    """Links, anchors and pictures of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.silent: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag refers to, and what can refer to it."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.links |= {given[name] for name in ("href", "src") if given.get(name)}
        # The title of a page stands beside its thumbnail.
        if tag == "img" and not given.get("alt", "").strip() and "_thumb" not in given["src"]:
            self.silent.append(given["src"])


def faults(root: Path) -> list[str]:
    """One line for each dead link and each picture without a text."""
    pages = {
        path: Page(path) for path in sorted(root.rglob("*.html")) if "_static" not in path.parts
    }
    found = []
    for path, page in pages.items():
        name = path.relative_to(root)
        found += [f"{name}: no text for {source}" for source in page.silent]
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target, anchor = urldefrag(unquote(link))
            place = (path.parent / urlsplit(target).path).resolve() if target else path
            place = place / "index.html" if place.is_dir() else place
            if not place.exists():
                found.append(f"{name}: dead link {link}")
            elif anchor and place in pages and anchor not in pages[place].anchors:
                found.append(f"{name}: dead anchor {link}")
    return found


if __name__ == "__main__":
    root = Path(sys.argv[1]).resolve()
    lines = faults(root)
    print("\n".join(lines) or f"{root}: no dead link, and every picture has a text")
    sys.exit(bool(lines))
