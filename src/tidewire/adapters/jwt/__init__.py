"""Tokens verified with PyJWT.

What a role may see belongs to the authorizer.
"""
