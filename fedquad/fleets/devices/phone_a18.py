"""A phone with Apple's A18 (iPhone 16, 5-core GPU). Its neural engine infers only, so that it is not counted."""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="phone-a18",
    title="iPhone 16 (A18)",
    device_class="moderate",
    arch="apple-a18",
    lanes=128,
    half_lanes=256,
    bus_bits=64,
    ram_gib=8,
    reserve_gib=4.0,
    sustained=0.35,
    half_sustained=0.35,
    idle_watts=0.8,
    uncapped_watts=6,
    power_share=0.8,
    radio_watts=1,
    modes=(PowerMode(name="default", cpu_cores=6, cpu_mhz=4040, units=5, clock_mhz=1453, memory_mhz=3750),),
    sources={
        "device_class": "assumed",
        "modes": "GPU clock derived from the 1.86 TFLOPS of hmc-tech.com's A18 page; CPU from memory, unverified",
        "lanes": "assumed: 128 FMAs a cycle and GPU core",
        "half_lanes": "assumed: twice fp32",
        "has_bf16": "assumed: not used",
        "bus_bits": "assumed: 64-bit LPDDR5X-7500, 60 GB/s, from memory",
        "ram_gib": "Apple, by teardown reports: 8 GB",
        "reserve_gib": "assumed: what iOS leaves one app is about half",
        "sustained": "assumed: a phone throttles",
        "half_sustained": "assumed",
        "idle_watts": "assumed",
        "uncapped_watts": "assumed",
        "power_share": "assumed",
        "radio_watts": "assumed",
    },
)
