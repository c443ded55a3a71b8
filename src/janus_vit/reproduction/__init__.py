"""The paper's machines and evaluation, and the comparison that it left out."""
