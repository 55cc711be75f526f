"""A small language with a known meaning: what the `mini-...` tasks and the `mini` backbone are made of."""
