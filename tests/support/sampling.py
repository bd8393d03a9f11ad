"""A pytest plugin for long groups: ``--sample K`` keeps at most K parameter sets of each test.

They are taken evenly spread over the sets, so that the sample is the same every time.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sample", type=int, default=0, help="parameter sets of each test to run")


@pytest.hookimpl(trylast=True)  # after the selection by markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    count = int(config.getoption("sample") or 0)
    if count <= 0:
        return
    by_test: dict[str, list[pytest.Item]] = {}
    for item in sorted(items, key=lambda item: item.nodeid):
        by_test.setdefault(item.nodeid.partition("[")[0], []).append(item)
    kept = {item for sets in by_test.values() for item in spread(sets, count)}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


def spread(items: list[pytest.Item], count: int) -> list[pytest.Item]:
    """`count` of `items`, evenly spread; all when there are no more."""
    if len(items) <= count:
        return items
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]
