"""The paper's round: what a method is, how it is planned and merged, what is refused, how time passes. Read round.py first."""
