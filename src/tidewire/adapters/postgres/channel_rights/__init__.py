"""Rights on private channels, by the policies of realtime.messages.

The database's own row security judges real rows, which are rolled back; nothing is imitated here.
"""
