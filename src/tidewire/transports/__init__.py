"""Sockets that carry frames between a peer and the engine.

Message rules belong to protocol.
"""
