"""The configuration: from `config.yaml` to a validated, immutable `Config`."""
