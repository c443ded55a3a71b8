"""What timm says about its models: the names that it knows, and the config.json that it writes."""
