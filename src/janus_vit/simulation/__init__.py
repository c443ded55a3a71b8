"""Virtual time: the live device loop over recorded links, the oracle, and policies compared."""
