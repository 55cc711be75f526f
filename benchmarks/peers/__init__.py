"""FedQuad and what its users would use instead, on the same clients."""
