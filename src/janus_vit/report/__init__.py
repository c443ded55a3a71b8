"""Reports: pages of figures and tables that a person would rather look at than read."""
