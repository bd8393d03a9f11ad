"""Presence as a value: who is on a topic, and what changed."""

from __future__ import annotations

import msgspec


class PresenceMeta(msgspec.Struct, frozen=True, gc=False):
    """One tracked payload of one channel.

    Attributes:
        ref: Unique name of this meta (`phx_ref`).
        payload: The tracked JSON object, encoded, as the client sent it.
        previous_ref: The meta this one replaces (`phx_ref_prev`), or "".
    """

    ref: str
    payload: bytes
    previous_ref: str = ""


class PresenceDiff(msgspec.Struct, frozen=True):
    """What changed on one topic at once.

    Attributes:
        joins: Key to metas that came.
        leaves: Key to metas that went. An update stands in both, under the same key.
    """

    joins: dict[str, tuple[PresenceMeta, ...]]
    leaves: dict[str, tuple[PresenceMeta, ...]]


def without_transients(diff: PresenceDiff) -> PresenceDiff:
    """The same diff without metas that both came and went in it: nobody ever saw them.

    A meta that replaced such a one then names the one before it.
    """
    joins: dict[str, tuple[PresenceMeta, ...]] = {}
    leaves: dict[str, tuple[PresenceMeta, ...]] = {}
    for key in diff.joins.keys() | diff.leaves.keys():
        came, went = diff.joins.get(key, ()), diff.leaves.get(key, ())
        gone = {meta.ref for meta in went}
        former = {meta.ref: meta.previous_ref for meta in came if meta.ref in gone}
        stayed: list[PresenceMeta] = []
        for meta in came:
            if meta.ref in former:
                continue
            previous = meta.previous_ref
            while previous in former:
                previous = former[previous]
            is_same = previous == meta.previous_ref
            stayed.append(meta if is_same else PresenceMeta(meta.ref, meta.payload, previous))
        left = tuple(meta for meta in went if meta.ref not in former)
        if stayed:
            joins[key] = tuple(stayed)
        if left:
            leaves[key] = left
    return PresenceDiff(joins, leaves)


class PresenceState:
    """Key to metas of one topic; the sum of its diffs."""

    __slots__ = ("_metas",)

    def __init__(self) -> None:
        self._metas: dict[str, dict[str, PresenceMeta]] = {}

    def __bool__(self) -> bool:
        return bool(self._metas)

    def metas(self) -> dict[str, tuple[PresenceMeta, ...]]:
        """Key to metas, each in the order they were tracked."""
        return {key: tuple(metas.values()) for key, metas in self._metas.items()}

    def track(self, key: str, meta: PresenceMeta) -> PresenceDiff:
        """Add a meta in place of the one it replaces; gives the diff that says so."""
        metas = self._metas.setdefault(key, {})
        replaced = metas.pop(meta.previous_ref, None)
        metas[meta.ref] = meta
        return PresenceDiff({key: (meta,)}, {key: (replaced,)} if replaced else {})

    def untrack(self, key: str, ref: str) -> PresenceDiff | None:
        """Remove a meta; None when it is not there."""
        metas = self._metas.get(key)
        gone = metas.pop(ref, None) if metas else None
        if gone is None:
            return None
        if not metas:
            del self._metas[key]
        return PresenceDiff({}, {key: (gone,)})
