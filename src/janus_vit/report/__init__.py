"""Reports: HTML pages with figures and tables, made from records of streams and from comparisons of policies."""
