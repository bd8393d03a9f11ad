from hypothesis import given
from hypothesis import strategies as st

from tidewire.core.presence_state import PresenceMeta, PresenceState

calls = st.lists(st.tuples(st.sampled_from(["track", "untrack"]), st.integers(0, 3)), max_size=30)


@given(calls)
def test_the_diffs_of_a_state_add_up_to_it(script):
    """Four channels under two keys; an update names the meta that it replaces."""
    state = PresenceState()
    shown: dict[str, dict[str, PresenceMeta]] = {}
    current: dict[int, str] = {}
    for number, (action, channel) in enumerate(script):
        key = f"key{channel % 2}"
        if action == "track":
            meta = PresenceMeta(f"r{number}", b"{}", current.get(channel, ""))
            diff = state.track(key, meta)
            current[channel] = meta.ref
        else:
            diff = state.untrack(key, current.pop(channel, "none"))
        for of_key, metas in (diff.joins if diff else {}).items():
            shown.setdefault(of_key, {}).update({meta.ref: meta for meta in metas})
        for of_key, metas in (diff.leaves if diff else {}).items():
            for meta in metas:
                del shown[of_key][meta.ref]
    expected = {key: set(metas) for key, metas in shown.items() if metas}
    assert {key: {m.ref for m in metas} for key, metas in state.metas().items()} == expected
    assert bool(state) == bool(expected)


def test_untracking_what_is_not_there_gives_no_diff():
    assert PresenceState().untrack("key", "ref") is None
