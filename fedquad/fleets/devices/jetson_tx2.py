"""NVIDIA Jetson TX2 (T186, 2 Pascal multiprocessors): the paper's weak class. Its Table I clocks are mode MAXQ."""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="jetson-tx2",
    title="Jetson TX2 8 GB",
    device_class="weak",
    arch="sm_62",
    lanes=128,
    half_lanes=256,  # Pascal's double-rate fp16; no tensor cores
    bus_bits=128,
    ram_gib=8,
    reserve_gib=2.0,
    sustained=0.50,
    half_sustained=0.50,
    idle_watts=3.0,
    uncapped_watts=15,
    power_share=0.8,
    radio_watts=4,
    modes=(
        PowerMode(name="MAXN", id=0, cpu_cores=6, cpu_mhz=2035, units=2, clock_mhz=1300.5, memory_mhz=1866),
        PowerMode(name="MAXQ", id=1, cpu_cores=4, cpu_mhz=1200, units=2, clock_mhz=850, memory_mhz=1331.2, watts=7.5),
        PowerMode(
            name="MAXP_CORE_ALL", id=2, cpu_cores=6, cpu_mhz=1400, units=2, clock_mhz=1120, memory_mhz=1600, watts=15
        ),
        PowerMode(
            name="MAXP_CORE_ARM", id=3, cpu_cores=4, cpu_mhz=2000, units=2, clock_mhz=1120, memory_mhz=1600, watts=15
        ),
        # The paper speaks of four modes; this one leaves a single Denver core beside a throttled A57.
        PowerMode(
            name="MAXP_CORE_DENVER",
            id=4,
            cpu_cores=2,
            cpu_mhz=2035,
            units=2,
            clock_mhz=1120,
            memory_mhz=1600,
            watts=15,
            usual=False,
        ),
    ),
    sources={
        "device_class": "paper, section IV: weak devices are TX2",
        "modes": "nvpmodel.conf of a TX2 quoted in a 2017 blog; jetsonhacks.com 2017/03/25; "
        "NVIDIA DRIVE 5.0.10 guide (7.5 and 15 W)",
        "lanes": "NVIDIA: 256 CUDA cores on 2 multiprocessors",
        "half_lanes": "twice fp32 on Pascal sm_62: gives the 1.33 TFLOPS of the paper's Table I at MAXN",
        "has_bf16": "sm_62 has no tensor cores",
        "bus_bits": "NVIDIA: 128-bit LPDDR4, 59.7 GB/s at MAXN",
        "ram_gib": "NVIDIA: 8 GB",
        "reserve_gib": "assumed: 0.4 taken by the kernel, 1.5 by system and CUDA context",
        "sustained": "FedAdapter, draw-cost-energy.py: BERT-base b4 s256 at 0.51-0.52 of the fp32 peak, if in MAXN",
        "half_sustained": "assumed, as in fp32",
        "idle_watts": "assumed",
        "uncapped_watts": "12 W of training (FedAdapter's energy script) is 0.8 of 15 W",
        "power_share": "12 W of training (FedAdapter's energy script) over 15 W",
        "radio_watts": "FedAdapter's energy script",
    },
)
