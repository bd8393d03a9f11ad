"""Nothing that a policy does for one viewer is left for the next one."""

from __future__ import annotations

import pytest

from tests.support.judging import Court

pytestmark = pytest.mark.postgres

ANN = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
BOB = "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
ROWS = f"insert into trips values (1, '{ANN}'), (2, '{BOB}')"


@pytest.mark.parametrize("is_local", ["true", "false"])
async def test_what_a_policy_keeps_in_a_setting_tells_the_next_viewer_nothing(
    court: Court, is_local: str
) -> None:
    """Policies keep there what is dear to find out; in a request of its own that is right."""
    await court.connection.execute(
        f"""create function remembered() returns uuid language plpgsql stable as $$
            begin
              if coalesce(current_setting('app.viewer', true), '') = '' then
                perform set_config('app.viewer', auth.uid()::text, {is_local});
              end if;
              return current_setting('app.viewer')::uuid;
            end $$;
            create policy p on trips for select to authenticated using (owner = remembered())"""
    )
    images = await court.images(ROWS)
    viewers = [{"sub": ANN}, {"sub": BOB}]
    assert await court.judge("trips", images, viewers) == [[True, False], [False, True]]
    assert await court.judge("trips", images, viewers[1:]) == [[False], [True]]


async def test_a_failed_assertion_concerns_its_own_viewer_only(court: Court) -> None:
    await court.connection.execute(
        """create function viewer() returns uuid language plpgsql stable as $$
           begin
             assert auth.uid() is not null;
             return auth.uid();
           end $$;
           create policy p on trips for select to authenticated using (owner = viewer())"""
    )
    images = await court.images(ROWS)
    told = await court.judge("trips", images, [{"sub": ANN}, {}])
    assert told == [[True, None], [False, None]]
