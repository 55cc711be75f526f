"""The embedded decoder: what it reads, how it starts, and how it is pre-trained. No device needs it but to run offline."""
