"""`config.yaml` to a validated, immutable configuration."""
