"""What a device is besides training: its memory, power mode, clocks, power, temperature. Standard library only, Python 3.10."""
