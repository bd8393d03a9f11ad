"""Links within the documentation lead somewhere, and every page can be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, page_name

_LINK = re.compile(r"\[[^\]]+\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")


def anchors_of(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=page_name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target, anchor in _LINK.findall(path.read_text().replace("\n", " ")):
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), f"{page_name(path)}: {target}"
        if anchor:
            assert anchor in anchors_of(file), f"{page_name(path)}: {target}#{anchor}"


def test_the_structure_names_every_page_once() -> None:
    named = re.findall(r"^ +- .*?([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    folder = ROOT / "docs"
    pages = [path.relative_to(folder).as_posix() for path in PAGES if folder in path.parents]
    assert sorted(named) == sorted(pages)
