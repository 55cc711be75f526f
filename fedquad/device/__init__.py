"""What a device is besides training: its folder, its trainer's socket, what it says of itself. No torch, no Prefect."""
