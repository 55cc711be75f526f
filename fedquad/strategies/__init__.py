"""Methods, one file each: a function `strategy(variant=..., **hyper_parameters) -> Strategy`. Read fedlora.py first."""
