"""The frames of Supabase Realtime: codecs, payloads and replies.

What a frame causes belongs to the engine.
"""
