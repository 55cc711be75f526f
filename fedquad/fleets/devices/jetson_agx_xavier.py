"""NVIDIA Jetson AGX Xavier 32 GB (T194 p2888, 8 Volta multiprocessors): the paper's strong class.

Table I's clocks are mode MODE_30W_6CORE.
"""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="jetson-agx-xavier",
    title="Jetson AGX Xavier 32 GB",
    device_class="strong",
    arch="sm_72",
    lanes=64,
    half_lanes=512,
    bus_bits=256,
    ram_gib=32,
    reserve_gib=2.5,
    sustained=0.50,
    half_sustained=0.28,
    idle_watts=7.0,
    uncapped_watts=40,
    power_share=0.8,
    radio_watts=4,
    modes=(
        PowerMode(name="MAXN", id=0, cpu_cores=8, cpu_mhz=2265.6, units=8, clock_mhz=1377, memory_mhz=2133),
        # Two of four TPCs off: 0.27 TFLOP/s, slower than any TX2; drawn uniformly it would invert the classes.
        PowerMode(
            name="MODE_10W",
            id=1,
            cpu_cores=2,
            cpu_mhz=1200,
            units=4,
            clock_mhz=520,
            memory_mhz=1066,
            watts=10,
            needs_reboot=True,
            usual=False,
        ),
        PowerMode(name="MODE_15W", id=2, cpu_cores=4, cpu_mhz=1200, units=8, clock_mhz=670, memory_mhz=1331, watts=15),
        PowerMode(
            name="MODE_30W_ALL", id=3, cpu_cores=8, cpu_mhz=1200, units=8, clock_mhz=900, memory_mhz=1600, watts=30
        ),
        PowerMode(
            name="MODE_30W_6CORE", id=4, cpu_cores=6, cpu_mhz=1450, units=8, clock_mhz=900, memory_mhz=1600, watts=30
        ),
        PowerMode(
            name="MODE_30W_4CORE", id=5, cpu_cores=4, cpu_mhz=1780, units=8, clock_mhz=900, memory_mhz=1600, watts=30
        ),
        PowerMode(
            name="MODE_30W_2CORE", id=6, cpu_cores=2, cpu_mhz=2100, units=8, clock_mhz=900, memory_mhz=1600, watts=30
        ),
        PowerMode(
            name="MODE_15W_DESKTOP", id=7, cpu_cores=4, cpu_mhz=2189, units=8, clock_mhz=670, memory_mhz=1331, watts=15
        ),
    ),
    sources={
        "device_class": "paper, section IV: strong devices are AGX",
        "modes": "mlcommons inference_results_v1.0, nvpmodel-computelab-310.conf; jetsonhacks.com 2018/10/07; "
        "MODE_10W's reboot: GitHub text 68896845021",
        "lanes": "NVIDIA: 512 CUDA cores on 8 multiprocessors",
        "half_lanes": "Volta gv11b: 8 tensor cores of 64 FMAs a multiprocessor; 32 TOPS with the DLAs",
        "has_bf16": "sm_72: tensor cores are fp16 only",
        "bus_bits": "NVIDIA: 256-bit LPDDR4x, 136.5 GB/s at MAXN",
        "ram_gib": "NVIDIA: 32 GB (16 and 64 GB exist)",
        "reserve_gib": "assumed",
        "sustained": "assumed, as measured on TX2",
        "half_sustained": "assumed; 0.47 of the int8 peak in MLPerf v1.1 BERT inference",
        "idle_watts": "assumed",
        "uncapped_watts": "assumed: about 40 W in MAXN",
        "power_share": "assumed, as TX2",
        "radio_watts": "assumed, as TX2 in FedAdapter's energy script",
    },
)
