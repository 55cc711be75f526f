"""Does: the round's verbs as plain functions (round.py puts them in order), the two fleets, tracking."""
