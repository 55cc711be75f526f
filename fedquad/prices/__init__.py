"""What work costs a device: FLOPs, bytes, seconds, joules, counted from a model's shape or fitted to a measured machine."""
