"""NVIDIA RTX A6000: the paper's workstation."""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="rtx-a6000",
    title="RTX A6000",
    device_class="strong",
    arch="sm_86",
    lanes=128,
    half_lanes=512,
    has_bf16=True,
    bus_bits=384,
    ram_gib=48,
    reserve_gib=1.0,
    sustained=0.39,
    half_sustained=0.4,
    idle_watts=25,
    uncapped_watts=300,
    power_share=0.85,
    radio_watts=0,
    modes=(PowerMode(name="default", cpu_cores=16, cpu_mhz=3500, units=84, clock_mhz=1800, memory_mhz=8000),),
    sources={
        "device_class": "assumed",
        "modes": "38.7 TFLOPS in fp32 and 768 GB/s: NVIDIA, from memory; CPU assumed",
        "lanes": "NVIDIA: 10752 CUDA cores on 84 multiprocessors",
        "half_lanes": "155 TFLOPS dense, from memory",
        "has_bf16": "sm_86",
        "bus_bits": "NVIDIA: 384-bit GDDR6 at 16 Gbit/s, 768 GB/s",
        "ram_gib": "NVIDIA: 48 GB",
        "reserve_gib": "assumed: CUDA context",
        "sustained": "the paper's 699 and 1002 ms a batch are 14.7 and 15.4 TFLOP/s: 0.38 and 0.40 of the fp32 peak",
        "half_sustained": "assumed",
        "idle_watts": "assumed",
        "uncapped_watts": "NVIDIA: 300 W",
        "power_share": "assumed",
        "radio_watts": "wired: none",
    },
)
