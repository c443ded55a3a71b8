"""Encode and decode everything that crosses the network. Incoming bytes are untrusted until they are checked."""
