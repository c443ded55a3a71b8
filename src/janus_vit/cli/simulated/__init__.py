"""Commands that simulate: policies over links, and fleets."""
