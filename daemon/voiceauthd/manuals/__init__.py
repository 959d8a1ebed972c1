"""Man pages and shell completions, made from the parsers that also print `--help`."""
