"""A phone with Qualcomm's Snapdragon 8 Gen 2 (Adreno 740)."""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="phone-snapdragon-8-gen-2",
    title="Snapdragon 8 Gen 2 phone",
    device_class="moderate",
    arch="adreno-740",
    lanes=2560,
    half_lanes=5120,
    bus_bits=64,
    ram_gib=12,
    reserve_gib=6.0,
    sustained=0.25,
    half_sustained=0.25,
    idle_watts=0.8,
    uncapped_watts=7,
    power_share=0.8,
    radio_watts=1,
    modes=(PowerMode(name="default", cpu_cores=8, cpu_mhz=3200, units=1, clock_mhz=680, memory_mhz=4000),),
    sources={
        "device_class": "assumed",
        "modes": "GPU: cputronic.com, 3.48 TFLOPS at 680 MHz; CPU and memory clocks from memory, unverified",
        "lanes": "derived from 3.48 TFLOPS at 680 MHz: 2560 FMAs a cycle in all, taken as one unit",
        "half_lanes": "assumed: twice fp32",
        "has_bf16": "assumed: not used",
        "bus_bits": "64-bit LPDDR5X, 64 GB/s: cputronic.com",
        "ram_gib": "assumed: phones have 8 to 16 GB",
        "reserve_gib": "assumed: what Android leaves one app",
        "sustained": "assumed: the theoretical peak is never sustained on a phone",
        "half_sustained": "assumed",
        "idle_watts": "assumed",
        "uncapped_watts": "assumed",
        "power_share": "assumed",
        "radio_watts": "assumed",
    },
)
