"""Settings of section auth. How they are read is `settings`' matter."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from tidewire.core.errors import SetupError

SECRET_CHARACTERS_MIN = 32


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who vouches for tokens."""

    jwt_secret: Annotated[
        str,
        Meta(
            description="Secret that HS256, HS384 and HS512 tokens are signed with, 32 characters "
            "or more; empty uses the one made once in the data folder. The server's own keys are "
            "signed with it."
        ),
    ] = ""
    jwt_secrets: Annotated[
        list[str],
        Meta(
            description="More secrets whose tokens are taken, such as the former one while "
            "secrets are exchanged; comma-separated in the environment."
        ),
    ] = []
    jwks_file: Annotated[
        str,
        Meta(
            description="JWKS file with keys that tokens may be signed with (RS256 to RS512, "
            "ES256 to ES512, EdDSA); read again when it changes."
        ),
    ] = ""
    jwks_url: Annotated[
        str,
        Meta(
            pattern="^(https?://[^ ]+)?$",
            description="Address of such a JWKS; fetched again from time to time, and when a "
            "token names a key that is not known.",
        ),
    ] = ""
    jwks_refresh_s: Annotated[
        float, Meta(ge=10, description="Seconds between two fetches of jwks_url.")
    ] = 600.0
    jwks_stale_s: Annotated[
        float,
        Meta(
            ge=60,
            description="Seconds for which fetched keys stay in force while jwks_url does not "
            "answer.",
        ),
    ] = 86_400.0
    required_claims: Annotated[
        dict[str, Any],
        Meta(
            description='Claims that every token must have with these very values, such as {"iss": '
            '"https://auth.example"}; a table in the file, a JSON object in the environment.'
        ),
    ] = {}
    audiences: Annotated[
        list[str],
        Meta(
            description="A token's aud must hold one of these; empty does not look at aud. "
            "Comma-separated in the environment."
        ),
    ] = []
    clock_skew_s: Annotated[
        float,
        Meta(
            ge=0,
            le=300,
            description="Seconds by which the clock of whoever signs tokens may differ from ours; "
            "a token ends that much later.",
        ),
    ] = 0.0
    check_not_before: Annotated[
        bool, Meta(description="Whether a token whose nbf is still to come is refused.")
    ] = False
    token_age_days_max: Annotated[
        float,
        Meta(
            ge=1,
            description="Days after its iat at which a token that names a user or a session (sub, "
            "session_id) ends at the latest, whatever its exp. Revocations are kept that long.",
        ),
    ] = 400.0
    publishable_keys: Annotated[
        dict[str, str],
        Meta(
            description="Opaque keys for visitors, by name: sb_publishable_ and 22 random "
            "characters or more; they stand for anon. Empty uses one made once in the data folder."
        ),
    ] = {}
    secret_keys: Annotated[
        dict[str, str],
        Meta(
            description="Opaque keys for servers, by name: sb_secret_ and 22 random characters or "
            "more; they stand for service_role. Empty uses one made once in the data folder."
        ),
    ] = {}

    def check(self) -> None:
        """Look at what types cannot say.

        Raises:
            SetupError: A secret is too short; it is not shown.
        """
        secrets = [("jwt_secret", self.jwt_secret)] if self.jwt_secret else []
        secrets += [("jwt_secrets", secret) for secret in self.jwt_secrets]
        for name, secret in secrets:
            if len(secret) < SECRET_CHARACTERS_MIN:
                raise SetupError(
                    f"auth.{name} has {len(secret)} characters; 32 or more are needed.",
                    "Make one with: openssl rand -hex 32",
                )
