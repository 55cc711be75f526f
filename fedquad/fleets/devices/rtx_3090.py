"""NVIDIA GeForce RTX 3090: what the paper compares phones with."""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="rtx-3090",
    title="GeForce RTX 3090",
    device_class="strong",
    arch="sm_86",
    lanes=128,
    half_lanes=256,
    has_bf16=True,
    bus_bits=384,
    ram_gib=24,
    reserve_gib=1.0,
    sustained=0.39,
    half_sustained=0.4,
    idle_watts=25,
    uncapped_watts=350,
    power_share=0.85,
    radio_watts=0,
    modes=(PowerMode(name="default", cpu_cores=16, cpu_mhz=3500, units=82, clock_mhz=1695, memory_mhz=9750),),
    sources={
        "device_class": "assumed",
        "modes": "35.58 TFLOPS in fp32: huggingface.js hardware.ts; clocks from memory; CPU assumed",
        "lanes": "NVIDIA: 10496 CUDA cores on 82 multiprocessors",
        "half_lanes": "71 TFLOPS dense with fp32 accumulation, from memory",
        "has_bf16": "sm_86",
        "bus_bits": "NVIDIA: 384-bit GDDR6X at 19.5 Gbit/s, 936 GB/s",
        "ram_gib": "NVIDIA: 24 GB",
        "reserve_gib": "assumed: CUDA context",
        "sustained": "assumed, as A6000",
        "half_sustained": "assumed",
        "idle_watts": "assumed",
        "uncapped_watts": "NVIDIA: 350 W",
        "power_share": "assumed",
        "radio_watts": "wired: none",
    },
)
