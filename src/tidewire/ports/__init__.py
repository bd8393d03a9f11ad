"""What the engine needs from outside, as Protocols with their promises.

Implementations belong to adapters and transports.
"""
