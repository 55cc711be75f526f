"""NVIDIA Jetson Nano 4 GB (T210, one Maxwell multiprocessor)."""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="jetson-nano",
    title="Jetson Nano 4 GB",
    device_class="weak",
    arch="sm_53",
    lanes=128,
    half_lanes=256,
    bus_bits=64,
    ram_gib=4,
    reserve_gib=1.2,
    sustained=0.50,
    half_sustained=0.50,
    idle_watts=1.5,
    uncapped_watts=10,
    power_share=0.8,
    radio_watts=4,
    modes=(
        PowerMode(name="MAXN", id=0, cpu_cores=4, cpu_mhz=1479, units=1, clock_mhz=921.6, memory_mhz=1600, watts=10),
        PowerMode(name="5W", id=1, cpu_cores=2, cpu_mhz=918, units=1, clock_mhz=640, memory_mhz=1600, watts=5),
    ),
    sources={
        "device_class": "assumed: FedAdapter has it twice slower than TX2",
        "modes": "GPU clocks 921.6 and 640 MHz: NVIDIA's data sheet; CPU and memory clocks from memory, unverified",
        "lanes": "NVIDIA: 128 CUDA cores",
        "half_lanes": "twice fp32 on sm_53: the data sheet's 472 GFLOPS in fp16",
        "has_bf16": "sm_53 has no tensor cores",
        "bus_bits": "NVIDIA: 64-bit LPDDR4, 25.6 GB/s",
        "ram_gib": "NVIDIA: 4 GB",
        "reserve_gib": "assumed",
        "sustained": "assumed, as measured on TX2",
        "half_sustained": "assumed",
        "idle_watts": "assumed",
        "uncapped_watts": "assumed; every mode has a cap",
        "power_share": "assumed, as TX2",
        "radio_watts": "assumed, as TX2 in FedAdapter's energy script",
    },
)
