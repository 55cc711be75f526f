"""Who does the work: boards, fleets drawn from them or recorded elsewhere, and how examples are dealt out."""
