"""What the bench programs share: servers, load, cores, results.

No bench of its own; nothing here is imported by the product.
"""
