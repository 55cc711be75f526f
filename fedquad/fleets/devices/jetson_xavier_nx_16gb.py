"""NVIDIA Jetson Xavier NX 16 GB (p3668-0003): the 8 GB board with more memory."""

from dataclasses import replace

from fedquad.fleets.devices.jetson_xavier_nx import BOARD as NX

BOARD = replace(
    NX,
    name="jetson-xavier-nx-16gb",
    title="Jetson Xavier NX 16 GB",
    ram_gib=16,
    sources={**NX.sources, "ram_gib": "NVIDIA: 16 GB (p3668-0003)", "device_class": "assumed, as the 8 GB board"},
)
