"""Raspberry Pi 5 8 GB: trains on its CPU; a unit is a core."""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="raspberry-pi-5",
    title="Raspberry Pi 5 8 GB",
    device_class="weak",
    arch="cortex-a76",
    lanes=8,
    half_lanes=16,
    bus_bits=32,
    ram_gib=8,
    reserve_gib=1.0,
    sustained=0.35,
    half_sustained=0.35,
    idle_watts=2.7,
    uncapped_watts=12,
    power_share=0.8,
    radio_watts=1,
    modes=(PowerMode(name="default", cpu_cores=4, cpu_mhz=2400, units=4, clock_mhz=2400, memory_mhz=2133.5),),
    sources={
        "device_class": "assumed",
        "modes": "Raspberry Pi: four Cortex-A76 at 2.4 GHz, LPDDR4X-4267",
        "lanes": "Arm: two 128-bit NEON pipes, 16 fp32 FLOPs a cycle and core",
        "half_lanes": "Arm: NEON fp16, twice fp32",
        "has_bf16": "no bf16 units in Cortex-A76",
        "bus_bits": "Raspberry Pi: 32-bit bus, 17.1 GB/s",
        "ram_gib": "Raspberry Pi: 8 GB (4 and 16 GB exist)",
        "reserve_gib": "assumed",
        "sustained": "assumed: about 0.36 of the peak of a Pi 4 by FedAdapter's slow-down against TX2",
        "half_sustained": "assumed",
        "idle_watts": "assumed",
        "uncapped_watts": "assumed",
        "power_share": "assumed",
        "radio_watts": "assumed",
    },
)
