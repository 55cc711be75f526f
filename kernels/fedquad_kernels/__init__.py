"""Kernels for activations saved in few bits, in Triton, each beside its plain-torch reference.

They know nothing of models or hooks: matrices go in, codes come out, the same bits on every device.
"""
