"""What training leaves around weights: prefixes before the names of tensors, and adapters beside a base model."""
