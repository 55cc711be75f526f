"""Hypothesis without a deadline: on a busy machine an import or a neighbour takes longer than any fixed time."""

from hypothesis import settings

settings.register_profile("fedquad", deadline=None)
settings.load_profile("fedquad")
