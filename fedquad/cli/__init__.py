"""The command line: what users type, parsed and printed; `main` is where it begins."""
