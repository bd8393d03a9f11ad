"""The sections of the settings that need no rules of their own.

How they are read is `settings`' matter; sections with rules have files of their own.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tidewire.engine.limits import Limits

_DRAIN_TIMEOUT_S = Limits().drain_timeout_s


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the server listens and how it ends."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one at each start.")
    ] = 4000
    public_url: Annotated[
        str,
        Meta(
            description="Address that browsers reach this server under, when a proxy stands in "
            "front; empty for http://host:port."
        ),
    ] = ""
    trusted_proxies: Annotated[
        list[str],
        Meta(
            description="Addresses or networks of proxies whose X-Forwarded-For is believed; "
            "comma-separated in the environment."
        ),
    ] = []
    tls_certificate: Annotated[
        str, Meta(description="PEM file with the certificate chain; empty speaks plain HTTP.")
    ] = ""
    tls_key: Annotated[str, Meta(description="PEM file with the certificate's key.")] = ""
    admin_jwt_secret: Annotated[
        str,
        Meta(
            description="Secret of the tokens that open /api/tenants, 32 bytes or more; empty "
            "keeps these routes shut."
        ),
    ] = ""
    metrics_jwt_secret: Annotated[
        str,
        Meta(
            description="Secret of the tokens that open /metrics, 32 bytes or more; empty leaves "
            "it open."
        ),
    ] = ""
    data_dir: Annotated[
        str,
        Meta(
            min_length=1,
            description="Folder for keys, lock and, without database.url, the database.",
        ),
    ] = ".tidewire"
    ready_file: Annotated[
        str, Meta(description="File written once the server is ready; empty for none.")
    ] = ""
    drain_timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=5,
            description="Seconds that open connections get to end after SIGTERM. The whole stop "
            "takes 10 s at most.",
        ),
    ] = _DRAIN_TIMEOUT_S


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The PostgreSQL that is streamed from."""

    url: Annotated[
        str,
        Meta(description="postgresql:// URL of your own database; empty starts an embedded one."),
    ] = ""
    port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Loopback port of the embedded database; 0 takes a free one the first "
            "time and keeps it.",
        ),
    ] = 0
    checker_url: Annotated[
        str,
        Meta(
            description="postgresql:// URL of the same database by the login that judges rows: it "
            "needs nothing but to be a member of the roles that tokens name. Empty for "
            "tidewire_check, which the server makes where it may."
        ),
    ] = ""
    slot: Annotated[
        str,
        Meta(pattern="^[a-z0-9_]{1,63}$", description="Name of the replication slot."),
    ] = "tidewire"
    publication: Annotated[
        str, Meta(min_length=1, max_length=63, description="Name of the publication.")
    ] = "supabase_realtime"


class StreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How changes are read and rendered."""

    renderer: Annotated[
        Literal["auto", "python"],
        Meta(
            description="auto renders rows by the compiled module where it is there; python "
            "always by its slower twin, which gives the same bytes."
        ),
    ] = "auto"


class ChangeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told what of changes."""

    key_only_deletes: Annotated[
        Literal["send", "drop"],
        Meta(
            description="A DELETE under row security of which the log holds the key only (the "
            "table's replica identity is not FULL) cannot be judged: send tells the key to "
            "everyone subscribed whose filter it meets, as Supabase does; drop tells nobody "
            "whom row security binds."
        ),
    ] = "send"


class ChannelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is let into channels."""

    private_only: Annotated[
        bool, Meta(description="Whether only private channels may be joined.")
    ] = False
    policy_poll_s: Annotated[
        float,
        Meta(
            ge=0.5,
            le=300,
            description="Seconds between looks at policies, grants and memberships while private "
            "channels are open. What the change stream tells acts at once; memberships of roles, "
            "and everything where event triggers cannot be had, act after this time at most.",
        ),
    ] = 5.0


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is logged, and how."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is shown.")
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json"],
        Meta(
            description="text for people, json for one object a line; auto is text on a terminal "
            "and json elsewhere."
        ),
    ] = "auto"


class DemoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sample data of ``tidewire demo``; without meaning for ``tidewire serve``."""

    simulate: Annotated[bool, Meta(description="Whether robot organizers edit the data.")] = False
    edits_per_s: Annotated[
        float, Meta(gt=0, le=200, description="Edits of all robots together, per second.")
    ] = 2.0
    seed: Annotated[int, Meta(description="Another number makes other rows.")] = 1


class TenantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The project that is served. A server of several has `[tenants.NAME]` for each instead."""

    hosts: Annotated[
        list[str],
        Meta(
            description="Host names of the tenant, without ports. A host whose first label is "
            "the tenant's name is one too. Without tenants, empty takes every host."
        ),
    ] = []
    suspended: Annotated[
        bool, Meta(description="Whether it is shut: connections are refused with 403.")
    ] = False


class SecuritySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who may call from a browser."""

    allowed_origins: Annotated[
        list[str],
        Meta(
            description="Origins that pages may call from, such as https://app.example.org or "
            "https://*.example.org; others get 403. Empty allows every origin."
        ),
    ] = []
