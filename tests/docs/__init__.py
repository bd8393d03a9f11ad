"""The documentation says what is so: examples run, names exist, links lead somewhere."""
