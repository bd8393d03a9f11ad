from __future__ import annotations

import re

import pytest

from tidewire.adapters.postgres.migrations import read_migrations
from tidewire.core.claim_functions import are_standard, is_standard

# As they stand in a Supabase database.
SUPABASE = {
    "uid": """
      select
      coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')
      )::uuid
    """,
    "jwt": """
      select
        coalesce(
            nullif(current_setting('request.jwt.claim', true), ''),
            nullif(current_setting('request.jwt.claims', true), '')
        )::jsonb
    """,
    "email": """
      select coalesce(
        nullif(current_setting('request.jwt.claim.email', true), ''),
        (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
      )::text
    """,
}


def ours() -> dict[str, str]:
    text = "".join(step.statements for migration in read_migrations() for step in migration.steps)
    pattern = r"create function auth\.(\w+)\(\).*?as \$\$(.*?)\$\$"
    return dict(re.findall(pattern, text, re.DOTALL))


def test_our_own_and_those_of_supabase_are_standard() -> None:
    assert set(ours()) == {"uid", "jwt", "role", "email"}
    assert are_standard(ours())
    assert are_standard(SUPABASE)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("uid", "select '00000000-0000-0000-0000-000000000000'::uuid"),
        ("uid", SUPABASE["email"]),
        ("role", "select coalesce(current_setting('request.jwt.claim.role', true), 'anon')"),
        ("jwt", "select current_setting('request.jwt.claims', true)::jsonb || '{}'"),
        ("else", "select 1"),
    ],
)
def test_any_other_is_not(name: str, source: str) -> None:
    assert not is_standard(name, source)
    assert not are_standard({**SUPABASE, name: source})
