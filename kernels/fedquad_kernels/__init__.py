"""Triton kernels for saved activations, each beside its plain-torch reference."""
