"""The command line: one file per command. The commands wire the other rooms together and contain no logic."""
