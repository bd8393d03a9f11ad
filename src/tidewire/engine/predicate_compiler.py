"""Turns an entry's conditions into predicates, asking the database what only it knows.

Literals are brought into their type's output form; what the database will have to judge is
tried once, so that an operator or a regular expression that it refuses is refused here and not
at every change.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TypeVar

from tidewire.core.catalog import Catalog, Table
from tidewire.core.column_type import ColumnType, resolve_type
from tidewire.core.errors import InvalidSubscriptionError
from tidewire.core.filter import Condition, Operator
from tidewire.core.predicate import (
    Predicate,
    Question,
    canonical_without_asking,
    compile_predicate,
    needed_literals,
    operator_refused,
)
from tidewire.ports.catalog_source import CatalogSource, Comparison, LiteralRequest

CACHE_MAX = 20_000
_K = TypeVar("_K")
_V = TypeVar("_V")
_REGULAR = frozenset({Operator.MATCH, Operator.IMATCH})


class PredicateCompiler:
    """Compiles conditions; remembers what the database said."""

    def __init__(self, catalogs: CatalogSource) -> None:
        self._catalogs = catalogs
        self._literals: OrderedDict[LiteralRequest, str] = OrderedDict()
        self._accepted: OrderedDict[Comparison, None] = OrderedDict()

    async def compile(
        self,
        catalog: Catalog,
        table: Table,
        conditions: Sequence[Condition],
        type_oids: dict[str, int],
    ) -> tuple[Predicate, ...]:
        """Compile conditions on a table's rows.

        Args:
            catalog: For types and collations.
            table: For collations.
            conditions: What rows must meet.
            type_oids: Each column's type in the rows that will be judged.

        Raises:
            InvalidSubscriptionError: A condition does not fit; the message is PostgreSQL's part
                of the wire's text.
            DatabaseUnavailableError: It could not be asked.
        """
        typed = [
            (condition, _column_type(catalog, table, condition.column, type_oids))
            for condition in conditions
        ]
        await self._learn_literals(typed)
        predicates = tuple(
            compile_predicate(condition, column_type, self._canonical_for(column_type))
            for condition, column_type in typed
        )
        await self._try_out(table, predicates)
        return predicates

    async def _learn_literals(self, typed: Sequence[tuple[Condition, ColumnType]]) -> None:
        wanted: dict[LiteralRequest, ColumnType] = {}
        for condition, column_type in typed:
            for text in needed_literals(condition, column_type):
                request = LiteralRequest(column_type.oid, text)
                if request in self._literals:
                    self._literals.move_to_end(request)
                    continue
                known = canonical_without_asking(column_type.oid, text)
                if known is None:
                    wanted[request] = column_type
                else:
                    _remember(self._literals, request, known)
        if not wanted:
            return
        answers = await self._catalogs.canonical_literals(list(wanted))
        for (request, column_type), answer in zip(wanted.items(), answers, strict=True):
            if answer is None:
                raise InvalidSubscriptionError(
                    f'invalid input syntax for type {column_type.sql_name}: "{request.text[:100]}"'
                )
            _remember(self._literals, request, answer)

    def _canonical_for(self, column_type: ColumnType) -> _Canonical:
        return _Canonical(self._literals, column_type.oid)

    async def _try_out(self, table: Table, predicates: Sequence[Predicate]) -> None:
        """Ask each question once with the literal itself as the value."""
        trials: dict[Comparison, Predicate] = {}
        for predicate in predicates:
            if not predicate.needs_database:
                continue
            sample = b"" if predicate.condition.operator in _REGULAR else None
            for question in _trial_questions(predicate, sample):
                trial = to_comparison(question, table.oid)
                if trial not in self._accepted:
                    trials[trial] = predicate
        answers = await self._catalogs.compare(list(trials)) if trials else []
        for (trial, predicate), answer in zip(trials.items(), answers, strict=True):
            if answer is None:
                raise _refusal(predicate)
            _remember(self._accepted, trial, None)


class _Canonical:
    """Looks canonical literals of one type up; all needed ones are there."""

    __slots__ = ("_literals", "_type_oid")

    def __init__(self, literals: OrderedDict[LiteralRequest, str], type_oid: int) -> None:
        self._literals = literals
        self._type_oid = type_oid

    def __call__(self, text: str) -> str:
        return self._literals[LiteralRequest(self._type_oid, text)]


def to_comparison(question: Question, table_oid: int) -> Comparison:
    """A predicate's question in the port's words."""
    return Comparison(
        type_oid=question.type_oid,
        operator=question.operator.value,
        literal=question.literal,
        value=question.value,
        table_oid=table_oid,
        column=question.column,
    )


def _trial_questions(predicate: Predicate, sample: bytes | None) -> tuple[Question, ...]:
    if sample is not None:
        return predicate.questions(sample)
    literals = [value for value in predicate.literals if value is not None]
    return predicate.questions(literals[0].encode()) if literals else ()


def _refusal(predicate: Predicate) -> InvalidSubscriptionError:
    condition = predicate.condition
    if condition.operator in _REGULAR:
        return InvalidSubscriptionError(
            f"invalid regular expression for {condition.operator.value} filter: "
            f"{condition.value[:100]}"
        )
    return operator_refused(condition, predicate.column_type, "the database refuses it")


def _column_type(
    catalog: Catalog, table: Table, name: str, type_oids: dict[str, int]
) -> ColumnType:
    column = next((column for column in table.columns if column.name == name), None)
    type_oid = type_oids.get(name)
    if column is None or type_oid is None:
        raise InvalidSubscriptionError(f"invalid column for filter {name}")
    column_type = resolve_type(
        catalog.types,
        type_oid,
        is_collation_c=column.is_collation_c,
        is_deterministic=column.is_deterministic,
    )
    if column_type is None:
        raise InvalidSubscriptionError(f"failed to lookup type for column {name}")
    return column_type


def _remember(cache: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    cache[key] = value
    while len(cache) > CACHE_MAX:
        cache.popitem(last=False)
