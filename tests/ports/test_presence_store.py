"""What every `PresenceStore` promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewire.adapters.memory.presence_store import MemoryPresenceStore
from tidewire.core.presence_state import PresenceDiff, PresenceMeta
from tidewire.ports.presence_store import PresenceStore

ADAPTERS: list[Callable[[], PresenceStore]] = [MemoryPresenceStore]


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest) -> PresenceStore:
    return request.param()


def meta(ref: str, *, previous_ref: str = "") -> PresenceMeta:
    return PresenceMeta(ref, b'{"ref":"%s"}' % ref.encode(), previous_ref)


def test_a_tracked_meta_is_in_the_state_and_told_as_a_join(store: PresenceStore) -> None:
    told: list[tuple[str, PresenceDiff]] = []
    store.listen(lambda topic, diff: told.append((topic, diff)))
    store.track("t", "ann", meta("1"))
    assert store.state("t") == {"ann": (meta("1"),)}
    assert told == [("t", PresenceDiff({"ann": (meta("1"),)}, {}))]


def test_an_update_is_one_diff_with_the_old_meta_leaving(store: PresenceStore) -> None:
    store.track("t", "ann", meta("1"))
    told: list[PresenceDiff] = []
    store.listen(lambda _topic, diff: told.append(diff))
    newer = meta("2", previous_ref="1")
    store.track("t", "ann", newer)
    assert told == [PresenceDiff({"ann": (newer,)}, {"ann": (meta("1"),)})]
    assert store.state("t") == {"ann": (newer,)}


def test_one_key_may_hold_several_metas_in_the_order_they_were_tracked(
    store: PresenceStore,
) -> None:
    for ref in ("3", "1", "2"):
        store.track("t", "ann", meta(ref))
    store.untrack("t", "ann", "1")
    assert store.state("t") == {"ann": (meta("3"), meta("2"))}


def test_an_untracked_meta_is_told_as_a_leave(store: PresenceStore) -> None:
    store.track("t", "ann", meta("1"))
    told: list[PresenceDiff] = []
    store.listen(lambda _topic, diff: told.append(diff))
    store.untrack("t", "ann", "1")
    assert told == [PresenceDiff({}, {"ann": (meta("1"),)})]
    assert store.state("t") == {}


@pytest.mark.parametrize(("topic", "key", "ref"), [("x", "ann", "1"), ("t", "bob", "1")])
def test_an_unknown_untrack_changes_nothing_and_tells_nobody(
    store: PresenceStore, topic: str, key: str, ref: str
) -> None:
    store.track("t", "ann", meta("1"))
    told: list[PresenceDiff] = []
    store.listen(lambda _topic, diff: told.append(diff))
    store.untrack(topic, key, ref)
    store.untrack("t", "ann", "no such ref")
    assert not told
    assert store.state("t") == {"ann": (meta("1"),)}


def test_topics_are_apart(store: PresenceStore) -> None:
    store.track("t", "ann", meta("1"))
    store.track("u", "ann", meta("2"))
    store.untrack("t", "ann", "2")
    assert store.state("t") == {"ann": (meta("1"),)}
    assert store.state("u") == {"ann": (meta("2"),)}


def test_a_change_made_within_the_listener_is_told_after_the_present_one(
    store: PresenceStore,
) -> None:
    told: list[str] = []

    def on_diff(_topic: str, diff: PresenceDiff) -> None:
        told.append("begin")
        if "ann" in diff.joins:
            store.track("t", "bob", meta("2"))
        told.append("end")

    store.listen(on_diff)
    store.track("t", "ann", meta("1"))
    assert told == ["begin", "end", "begin", "end"]


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["track", "update", "untrack"]), st.sampled_from("ab"), st.booleans())
)


@pytest.mark.parametrize("make", ADAPTERS)
@given(operations=OPERATIONS)
def test_the_state_is_the_sum_of_the_diffs(
    make: Callable[[], PresenceStore], operations: list[tuple[str, str, bool]]
) -> None:
    store = make()
    summed: dict[str, dict[str, Any]] = {}

    def on_diff(_topic: str, diff: PresenceDiff) -> None:
        for key, metas in diff.leaves.items():
            for one in metas:
                del summed[key][one.ref]
        for key, metas in diff.joins.items():
            summed.setdefault(key, {}).update({one.ref: one for one in metas})

    store.listen(on_diff)
    for number, (operation, key, first) in enumerate(operations):
        refs = list(summed.get(key, {})) or ["none"]
        ref = refs[0 if first else -1]
        if operation == "untrack":
            store.untrack("t", key, ref)
        else:
            store.track("t", key, meta(str(number), previous_ref=ref * (operation == "update")))
        present = {key: list(metas.values()) for key, metas in summed.items() if metas}
        assert {key: list(metas) for key, metas in store.state("t").items()} == present
