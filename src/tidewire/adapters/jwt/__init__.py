"""Tokens: signed ones verified and made, opaque keys, and where signing keys come from.

What a role may see belongs to the authorizer; which tokens were revoked to the engine.
"""
