"""Rounds on paper: what each device would be given and why, without training anything."""
