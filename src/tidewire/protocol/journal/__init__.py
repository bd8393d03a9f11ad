"""The journal's files: records and transactions from bytes and to bytes.

Opening, writing and syncing files belongs to adapters.files.
"""
