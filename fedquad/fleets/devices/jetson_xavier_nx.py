"""NVIDIA Jetson Xavier NX 8 GB (T194 p3668, 6 Volta multiprocessors): the paper's moderate class.

Table I's clocks are mode MODE_10W_4CORE.
"""

from fedquad.fleets.boards import Board, PowerMode

BOARD = Board(
    name="jetson-xavier-nx",
    title="Jetson Xavier NX 8 GB",
    device_class="moderate",
    arch="sm_72",
    lanes=64,
    half_lanes=512,  # 8 tensor cores of 64 FMAs
    bus_bits=128,
    ram_gib=8,
    reserve_gib=2.0,
    sustained=0.50,
    half_sustained=0.28,
    idle_watts=3.5,
    uncapped_watts=20,
    power_share=0.8,
    radio_watts=4,
    modes=(
        PowerMode(
            name="MODE_15W_2CORE",
            id=0,
            cpu_cores=2,
            cpu_mhz=1907,
            units=6,
            clock_mhz=1109.25,
            memory_mhz=1600,
            watts=15,
        ),
        # As fast as 2CORE on the GPU: the paper speaks of four modes, and these two would be one of them twice more.
        PowerMode(
            name="MODE_15W_4CORE",
            id=1,
            cpu_cores=4,
            cpu_mhz=1421,
            units=6,
            clock_mhz=1109.25,
            memory_mhz=1600,
            watts=15,
            usual=False,
        ),
        PowerMode(
            name="MODE_15W_6CORE",
            id=2,
            cpu_cores=6,
            cpu_mhz=1421,
            units=6,
            clock_mhz=1109.25,
            memory_mhz=1600,
            watts=15,
        ),
        PowerMode(
            name="MODE_10W_2CORE", id=3, cpu_cores=2, cpu_mhz=1498, units=6, clock_mhz=803.25, memory_mhz=1600, watts=10
        ),
        PowerMode(
            name="MODE_10W_4CORE", id=4, cpu_cores=4, cpu_mhz=1190, units=6, clock_mhz=803.25, memory_mhz=1600, watts=10
        ),
        # 0.39 TFLOP/s, below a TX2 in MAXQ: drawn uniformly it would invert the classes.
        PowerMode(
            name="MODE_10W_DESKTOP",
            id=5,
            cpu_cores=4,
            cpu_mhz=1907,
            units=6,
            clock_mhz=510,
            memory_mhz=1600,
            watts=10,
            usual=False,
        ),
        *(
            PowerMode(
                name=f"MODE_20W_{cores}CORE",
                id=id,
                cpu_cores=cores,
                cpu_mhz=mhz,
                units=6,
                clock_mhz=1109.25,
                memory_mhz=1866,
                watts=20,
                usual=False,
                source="ids: `nvpmodel -p` on JetPack 5.0.2; clocks assumed",
            )
            for id, cores, mhz in ((6, 2, 1907), (7, 4, 1907), (8, 6, 1421))
        ),
    ),
    sources={
        "device_class": "paper, section IV: moderate devices are NX",
        "modes": "mlcommons inference_results_v1.0, nvpmodel-computelab-501.conf; "
        "borongyuan/XavierNXOverclock, nvpmodel_t194_p3668.conf",
        "lanes": "NVIDIA: 384 CUDA cores on 6 multiprocessors",
        "half_lanes": "Volta gv11b: 8 tensor cores of 64 FMAs a multiprocessor",
        "has_bf16": "sm_72: tensor cores are fp16 only",
        "bus_bits": "NVIDIA: 128-bit LPDDR4x, 51.2 GB/s at 1600 MHz",
        "ram_gib": "NVIDIA: 8 GB",
        "reserve_gib": "assumed: TensorFlow saw 7.58 GiB of 8; 1.5 for system and CUDA context",
        "sustained": "assumed, as measured on TX2; NX over AGX in MLPerf v1.1 BERT is 0.634, by peaks 0.604",
        "half_sustained": "assumed",
        "idle_watts": "assumed",
        "uncapped_watts": "assumed; every mode has a cap",
        "power_share": "assumed, as TX2",
        "radio_watts": "assumed, as TX2 in FedAdapter's energy script",
    },
)
