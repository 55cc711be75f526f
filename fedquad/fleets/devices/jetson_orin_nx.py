"""NVIDIA Jetson Orin NX 16 GB (T234, 8 Ampere multiprocessors).

Its 15W and 10W modes are left out: no source gives their clocks.
"""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="jetson-orin-nx",
    title="Jetson Orin NX 16 GB",
    device_class="moderate",
    arch="sm_87",
    lanes=128,
    half_lanes=1024,
    has_bf16=True,
    bus_bits=128,
    ram_gib=16,
    reserve_gib=2.0,
    sustained=0.50,
    half_sustained=0.28,
    idle_watts=4.6,
    uncapped_watts=43,
    power_share=0.68,
    radio_watts=4,
    modes=(
        PowerMode(name="MAXN_SUPER", id=0, cpu_cores=8, cpu_mhz=1984, units=8, clock_mhz=1173, memory_mhz=3199),
        PowerMode(name="25W", id=3, cpu_cores=8, cpu_mhz=1498, units=8, clock_mhz=408, memory_mhz=3199, watts=25),
        PowerMode(name="40W", id=4, cpu_cores=8, cpu_mhz=1498, units=8, clock_mhz=1173, memory_mhz=3199, watts=40),
    ),
    sources={
        "device_class": "assumed",
        "modes": "ARK-Electronics/ark_jetson_kernel docs/power.md @2d14d44",
        "lanes": "NVIDIA: 1024 CUDA cores on 8 multiprocessors",
        "half_lanes": "Ampere sm_87: 2048 dense fp16 FLOPs a cycle and multiprocessor",
        "has_bf16": "sm_87",
        "bus_bits": "NVIDIA: 128-bit LPDDR5, 102.4 GB/s",
        "ram_gib": "NVIDIA: 16 GB",
        "reserve_gib": "assumed",
        "sustained": "assumed, as measured on TX2",
        "half_sustained": "assumed",
        "idle_watts": "ark_jetson_kernel docs/power.md: 4.6 W measured",
        "uncapped_watts": "ark_jetson_kernel docs/power.md: 29.4 W measured in MAXN_SUPER, over power_share",
        "power_share": "ark_jetson_kernel docs/power.md: 16.9 of 25 W, 27.6 of 40 W",
        "radio_watts": "assumed, as TX2 in FedAdapter's energy script",
    },
)
