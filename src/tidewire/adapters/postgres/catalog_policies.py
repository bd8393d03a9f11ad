"""Reads the policies that bind a role, and plans how each table's rows are judged by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tidewire.adapters.postgres import catalog_queries as queries
from tidewire.adapters.postgres.compare import TypeName
from tidewire.adapters.postgres.query_session import Connection, Row
from tidewire.core.catalog import Table, TableAccess, TableColumn, TypeInfo, TypeKind
from tidewire.core.claim_functions import are_standard
from tidewire.core.column_type import DOMAIN_DEPTH_MAX
from tidewire.core.early_calls import Definition, EarlyNames, early_names
from tidewire.core.policy_combine import Policy, combine
from tidewire.core.policy_tiers import PolicyFacts, PolicyPlan, plan_policy
from tidewire.core.row_policy import VOLATILE_CLAIMS, PolicyColumn, RowPolicy

Access = Mapping[int, TableAccess]


class PolicyContext(msgspec.Struct, frozen=True):
    """What planning needs of the rest of the catalogue.

    Attributes:
        tables: Tables of the publication by oid.
        types: Data types by oid.
        type_names: How each is written in a query.
        unstreamed: For each table, columns that the stream does not carry.
        has_standard_claims: Whether the functions of the schema `auth` are the known ones.
        named_claims: Volatile claims that something in the database may read.
        early: Names behind which a function that is declared immutable may stand.
    """

    tables: Mapping[int, Table]
    types: Mapping[int, TypeInfo]
    type_names: Mapping[int, TypeName]
    unstreamed: Mapping[int, frozenset[str]]
    has_standard_claims: bool
    named_claims: frozenset[str]
    early: EarlyNames = EarlyNames()


async def read_context(
    connection: Connection,
    tables: Mapping[int, Table],
    types: Mapping[int, TypeInfo],
    type_names: Mapping[int, TypeName],
) -> PolicyContext:
    """Read what does not depend on a role. Nothing is asked when no table has row security."""
    guarded = [oid for oid, table in tables.items() if table.has_row_security]
    if not guarded:
        return PolicyContext(
            tables, types, type_names, {}, has_standard_claims=False, named_claims=VOLATILE_CLAIMS
        )
    unstreamed: dict[int, set[str]] = {oid: set() for oid in guarded}
    streamed = {oid: {column.name for column in tables[oid].columns} for oid in guarded}
    for row in await connection.fetch(queries.ATTRIBUTES, guarded):
        if row["name"] not in streamed[row["oid"]]:
            unstreamed[row["oid"]].add(row["name"])
    functions = await connection.fetch(queries.CLAIM_FUNCTIONS)
    named = await connection.fetch(queries.NAMED_CLAIMS, sorted(VOLATILE_CLAIMS))
    definitions = await connection.fetch(queries.DEFINITIONS)
    return PolicyContext(
        tables,
        types,
        type_names,
        {oid: frozenset(names) for oid, names in unstreamed.items()},
        all(row["is_plain"] for row in functions)
        and are_standard({row["name"]: row["source"] for row in functions}),
        frozenset(row["claim"] for row in named),
        early_names(
            Definition(row["name"], row["text"], row["is_function"], row["is_immutable"])
            for row in definitions
        ),
    )


async def with_policies(
    connection: Connection,
    role: str,
    access: Mapping[int, TableAccess],
    context: PolicyContext,
    former: Access,
) -> dict[int, TableAccess]:
    """`access` with a policy wherever row security binds the role.

    Args:
        connection: With only pg_catalog on its search path.
        role: Whom it is about.
        access: What the role may read, without policies.
        context: See there.
        former: The role's access in the last state; a policy that says the same is kept.
    """
    bound = [oid for oid, given in access.items() if not given.bypasses_row_security]
    if not bound:
        return dict(access)
    rows = await connection.fetch(queries.POLICIES, role, bound)
    schemas = {row["name"]: row["is_open"] for row in await connection.fetch(queries.SCHEMAS, role)}
    by_table = _by_table(rows)
    given = dict(access)
    for oid in bound:
        if oid not in context.tables:
            continue
        expression = combine(by_table.get(oid, ()))
        policy = _policy(context, context.tables[oid], role, expression, schemas)
        before = former.get(oid)
        if before is not None and before.policy is not None:
            policy = before.policy if before.policy.says_the_same(policy) else policy
        given[oid] = msgspec.structs.replace(access[oid], policy=policy)
    return given


def _by_table(rows: Iterable[Row]) -> dict[int, list[Policy]]:
    by_table: dict[int, list[Policy]] = {}
    for row in rows:
        policy = Policy(row["is_permissive"], row["expression"])
        by_table.setdefault(row["oid"], []).append(policy)
    return by_table


def _policy(
    context: PolicyContext,
    table: Table,
    role: str,
    expression: str | None,
    schemas: Mapping[str, bool],
) -> RowPolicy:
    columns = {column.name: column for column in table.columns}
    facts = PolicyFacts(
        table.name, columns, context.unstreamed.get(table.oid, frozenset()),
        context.has_standard_claims,
    )  # fmt: skip
    plan = plan_policy(expression, facts)
    read = [column for column in table.columns if column.name in plan.columns]
    key = [column for column in table.columns if column.is_primary_key]
    return RowPolicy(
        table.oid,
        role,
        expression or "false",
        plan.tier,
        claims=plan.claims,
        kept=context.named_claims | plan.words,
        table_name=table.name,
        local=plan.local,
        sets=plan.sets,
        columns=_policy_columns(context, read),
        key=_policy_columns(context, key),
        streamed=tuple((column.name, column.type_oid) for column in table.columns),
        bound_schemas=_bound(context, plan, read, schemas),
        plans_anew=context.early.are_in(expression or ""),
    )


def _policy_columns(
    context: PolicyContext, columns: Sequence[TableColumn]
) -> tuple[PolicyColumn, ...]:
    found: list[PolicyColumn] = []
    for column in columns:
        info = context.types[column.type_oid]
        name = context.type_names[column.type_oid]
        found.append(
            PolicyColumn(
                column.name,
                column.type_oid,
                name.qualified,
                as_array=name.has_array and _is_flat(context.types, info),
                delimiter=info.delimiter,
                operator_schema=name.operator_schema,
            )
        )
    return tuple(found)


def _is_flat(types: Mapping[int, TypeInfo], info: TypeInfo) -> bool:
    """Whether an array of the type unfolds into its values: no array, nothing of several fields."""
    for _ in range(DOMAIN_DEPTH_MAX):
        if info.kind is not TypeKind.DOMAIN or info.base_oid not in types:
            break
        info = types[info.base_oid]
    return info.kind not in (TypeKind.ARRAY, TypeKind.COMPOSITE, TypeKind.DOMAIN)


def _bound(
    context: PolicyContext,
    plan: PolicyPlan,
    columns: Iterable[TableColumn],
    schemas: Mapping[str, bool],
) -> frozenset[str]:
    """Schemas that are named, when the role may not look into one of them."""
    named = plan.qualifiers | {context.type_names[column.type_oid].schema for column in columns}
    present = frozenset(name for name in named if name in schemas)
    return frozenset() if all(schemas[name] for name in present) else present
