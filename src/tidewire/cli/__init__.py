"""The `tidewire` command, one file per subcommand.

Work is done by server or client; a command only presents it.
"""
