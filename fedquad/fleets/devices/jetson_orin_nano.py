"""NVIDIA Jetson Orin Nano 8 GB (T234, 8 Ampere multiprocessors), with the super modes of JetPack 6.2."""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="jetson-orin-nano",
    title="Jetson Orin Nano 8 GB",
    device_class="moderate",
    arch="sm_87",
    lanes=128,
    half_lanes=1024,  # dense tensor cores
    has_bf16=True,
    bus_bits=128,
    ram_gib=8,
    reserve_gib=2.0,
    sustained=0.50,
    half_sustained=0.28,
    idle_watts=4.0,
    uncapped_watts=30,
    power_share=0.68,
    radio_watts=4,
    modes=(
        PowerMode(name="15W", id=0, cpu_cores=6, cpu_mhz=1510, units=8, clock_mhz=625, memory_mhz=2133, watts=15),
        PowerMode(name="25W", id=1, cpu_cores=6, cpu_mhz=1344, units=8, clock_mhz=918, memory_mhz=3199, watts=25),
        PowerMode(name="MAXN_SUPER", id=2, cpu_cores=6, cpu_mhz=1728, units=8, clock_mhz=1020, memory_mhz=3199),
        # It changes which cores are on; so does coming back from it.
        PowerMode(
            name="7W",
            id=3,
            cpu_cores=4,
            cpu_mhz=960,
            units=8,
            clock_mhz=408,
            memory_mhz=2133,
            watts=7,
            needs_reboot=True,
            usual=False,
            source="clocks and multiprocessors from memory, unverified",
        ),
    ),
    sources={
        "device_class": "assumed",
        "modes": "ids: nvpmodel.conf in public repositories; MAXN_SUPER and 15W clocks: brojogopalsapui.com; "
        "25W clocks and 15W CPU clock from memory, unverified",
        "lanes": "NVIDIA: 1024 CUDA cores on 8 multiprocessors",
        "half_lanes": "Ampere sm_87: 2048 dense fp16 FLOPs a cycle and multiprocessor",
        "has_bf16": "sm_87",
        "bus_bits": "NVIDIA: 128-bit LPDDR5, 102 GB/s in the super modes, 68 before",
        "ram_gib": "NVIDIA: 8 GB",
        "reserve_gib": "assumed",
        "sustained": "assumed, as measured on TX2",
        "half_sustained": "assumed",
        "idle_watts": "assumed, from Orin NX's 4.6 W",
        "uncapped_watts": "assumed",
        "power_share": "assumed, as Orin NX",
        "radio_watts": "assumed, as TX2 in FedAdapter's energy script",
    },
)
