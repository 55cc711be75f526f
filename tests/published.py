"""What boards print and keep in files, as published, each with where it was read; and boards made of such files.

A value that a source leaves open is taken from the same board's line of tegrastats.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of tegrastats, and what it says."""

    jetpack: int
    source: str
    text: str
    cpu_hertz: float
    gpu_hertz: float
    celsius: float
    watts: float
    rails: int


LINES = [
    Line(
        jetpack=3,
        source="hordiales/jetson-tx1-dev, SCRIPTS.md, 'Monitoreo' (TX1, L4T 28.1)",
        text="RAM 3607/3983MB (lfb 47x4MB) SWAP 873/8192MB (cached 281MB) cpu [17%,11%,65%,0%]@1734 EMC 1%@1600 APE 25 "
        "GR3D 39%@76",
        cpu_hertz=1734e6,
        gpu_hertz=76e6,
        celsius=nan,
        watts=nan,
        rails=0,
    ),
    Line(
        jetpack=3,
        source="gustavz/realtime_object_detection issue 24, 'low fps on tx2 is only 0.5' (June 2018)",
        text="RAM 1685/7854MB (lfb 1044x4MB) SWAP 278/8192MB (cached 23MB) CPU [4%@346,0%@344,0%@345,1%@345,0%@345,2%@345] "
        "EMC_FREQ 16%@102 GR3D_FREQ 0%@140 APE 150 MTS fg 0% bg 0% BCPU@41C MCPU@41C GPU@39C PLL@41C Tboard@37C "
        "Tdiode@37.25C PMIC@100C thermal@39.9C VDD_IN 1776/1853 VDD_CPU 231/231 VDD_GPU 154/154 VDD_SOC 386/385 "
        "VDD_WIFI 38/38 VDD_DDR 250/288",
        cpu_hertz=346e6,
        gpu_hertz=140e6,
        celsius=41.0,
        watts=1.776,
        rails=6,
    ),
    Line(
        jetpack=4,
        source="henrygd/beszel pull request 1631, 'Jetson tegrastats regex pre jetpack5' (TX2)",
        text="RAM 3276/7859MB (lfb 5x4MB) SWAP 1626/12122MB (cached 181MB) CPU [44%@1421,49%@2031,67%@2034,17%@1420,"
        "25%@1419,8%@1420] EMC_FREQ 1%@1866 GR3D_FREQ 0%@114 APE 150 MTS fg 1% bg 1% PLL@42.5C MCPU@42.5C PMIC@50C "
        "Tboard@38C GPU@39.5C BCPU@42.5C thermal@41.3C Tdiode@39.25C VDD_SYS_GPU 182/182 VDD_SYS_SOC 730/730 "
        "VDD_4V0_WIFI 0/0 VDD_IN 5297/5297 VDD_SYS_CPU 1917/1917 VDD_SYS_DDR 1241/1241",
        cpu_hertz=2034e6,
        gpu_hertz=114e6,
        celsius=42.5,
        watts=5.297,
        rails=6,
    ),
    Line(
        jetpack=4,
        source="martinkersner/gtop pull request 7, 'Added AGX/Xavier support' (JetPack 4.2, without root)",
        text="RAM 14700/15692MB (lfb 3x2MB) SWAP 898/8192MB (cached 23MB) CPU [0%@1190,0%@1190,0%@1190,0%@1190,0%@1190,"
        "0%@1190,0%@1190,0%@1190] EMC_FREQ 0% GR3D_FREQ 0% AO@30C GPU@30.5C Tboard@31C Tdiode@32C AUX@30.5C CPU@31.5C "
        "thermal@30.8C PMIC@100C GPU 463/463 CPU 618/618 SOC 2936/2936 CV 0/0 VDDRQ 309/309 SYS5V 3306/3306",
        cpu_hertz=1190e6,
        gpu_hertz=nan,
        celsius=32.0,
        watts=7.632,
        rails=6,
    ),
    Line(
        jetpack=4,
        source="dusty-nv/jetson-inference issue 1206, 'Much less frame rate (FPS) than in the tutorial on Jetson Nano'",
        text="RAM 1504/3956MB (lfb 331x4MB) IRAM 0/252kB(lfb 252kB) CPU [44%@1479,22%@1479,26%@1479,14%@1479] EMC_FREQ "
        "7%@1600 GR3D_FREQ 86%@921 NVDEC 716 VIC_FREQ 0%@140 APE 25 PLL@39C CPU@44C PMIC@100C GPU@42.5C AO@47.5C "
        "thermal@42.5C POM_5V_IN 4531/3285 POM_5V_GPU 1113/213 POM_5V_CPU 539/722",
        cpu_hertz=1479e6,
        gpu_hertz=921e6,
        celsius=47.5,
        watts=4.531,
        rails=3,
    ),
    Line(
        jetpack=5,
        source="gt-crnch-rg/read-the-docs, 'Rudi - Jetson Dev Boards' (AGX Orin 32 GB, kernel 5.10)",
        text="10-16-2023 10:59:22 RAM 1205/30623MB (lfb 6429x4MB) SWAP 0/15311MB (cached 0MB) CPU [0%@729,0%@729,1%@729,"
        "0%@729,0%@729,0%@730,0%@730,0%@729,0%@729,0%@729,0%@729,0%@729] EMC_FREQ 0%@204 GR3D_FREQ 0%@114 GR3D2_FREQ "
        "0%@114 NVJPG1 729 VIC_FREQ 729 APE 233 CV0@-256C CPU@43.5C Tdiode@32.5C SOC2@40.062C SOC0@40.5C CV1@-256C "
        "GPU@38.156C SOC1@39.125C CV2@-256C VDD_GPU_SOC 4788mW/4788mW VDD_CPU_CV 798mW/798mW VIN_SYS_5V0 3842mW/3842mW "
        "NC 0mW/0mW VDDQ_VDD2_1V8AO 707mW/707mW NC 0mW/0mW",
        cpu_hertz=730e6,
        gpu_hertz=114e6,
        celsius=43.5,
        watts=9.428,
        rails=4,
    ),
    Line(
        jetpack=5,
        source="GDWR/jetson_exporter issue 14, 'GPU utilization percentage isn't available' (AGX Orin 64 GB)",
        text="04-11-2025 10:36:27 RAM 4321/62801MB (lfb 1759x4MB) SWAP 19/31400MB (cached 0MB) CPU [0%@729,0%@729,0%@729,"
        "0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729,0%@729] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ "
        "729 APE 174 CV0@-256C CPU@44.562C Tboard@32C SOC2@40.093C Tdiode@33C SOC0@41.093C CV1@-256C GPU@-256C "
        "tj@44.343C SOC1@41.25C CV2@-256C VDD_GPU_SOC 2340mW/2340mW VDD_CPU_CV 390mW/390mW VIN_SYS_5V0 4025mW/4025mW "
        "NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW NC 0mW/0mW",
        cpu_hertz=729e6,
        gpu_hertz=0.0,
        celsius=44.562,
        watts=6.755,
        rails=4,
    ),
    Line(
        jetpack=6,
        source="hasegawa-ryo-edu-ea/neuroseek, tests/test_telemetry.py (Orin Nano 8 GB)",
        text="08-10-2026 21:39:51 RAM 2513/7620MB (lfb 1x4MB) SWAP 25/3810MB (cached 0MB) CPU [11%@729,7%@729,8%@729,"
        "4%@729,3%@729,14%@729] GR3D_FREQ 0% cpu@51.218C soc2@51.093C soc0@50.125C gpu@51.593C tj@51.718C soc1@50.343C "
        "VDD_IN 4744mW/6179mW VDD_CPU_GPU_CV 1273mW/2369mW VDD_SOC 1234mW/1392mW",
        cpu_hertz=729e6,
        gpu_hertz=nan,
        celsius=51.718,
        watts=4.744,
        rails=3,
    ),
    Line(
        jetpack=6,
        source="a public report on an AGX Orin 64 GB of 5 October 2026, 'tegrastats (1 sample)' (JetPack 6.2.1, L4T 36.4.7)",
        text="10-05-2026 21:03:35 RAM 5137/62841MB (lfb 2x4MB) SWAP 0/31420MB (cached 0MB) CPU [1%@729,25%@729,1%@729,"
        "1%@729,2%@729,1%@729,0%@729,0%@729,2%@729,14%@729,1%@729,0%@729] GR3D_FREQ 0% cpu@52.875C soc2@48.656C "
        "soc0@49.062C tj@52.875C soc1@49.031C VDD_GPU_SOC 3178mW/3178mW VDD_CPU_CV 794mW/794mW VIN_SYS_5V0 "
        "4543mW/4543mW",
        cpu_hertz=729e6,
        gpu_hertz=nan,
        celsius=52.875,
        watts=8.515,
        rails=3,
    ),
    Line(
        jetpack=6,
        source="a comment in a public script that plots tegrastats (AGX Orin 64 GB, 17 March 2024): a rail below zero",
        text="03-17-2024 18:54:10 RAM 10239/62841MB (lfb 442x4MB) SWAP 1/31421MB (cached 0MB) CPU [0%@1728,0%@1728,0%@1728,"
        "0%@1728,0%@1420,0%@1420,0%@1420,0%@1420,off,off,off,off] GR3D_FREQ 0% cpu@37.5C tboard@27C soc2@34.562C "
        "tdiode@27.5C soc0@34.531C tj@37.5C soc1@33.656C VDD_GPU_SOC 1592mW/1592mW VDD_CPU_CV -398mW/-398mW VIN_SYS_5V0 "
        "2624mW/2624mW VDDQ_VDD2_1V8AO 403mW/403mW",
        cpu_hertz=1728e6,
        gpu_hertz=nan,
        celsius=37.5,
        watts=3.818,
        rails=4,
    ),
]

# JetPack 5's own was not found published; it stands between these two, which agree.
NVPMODEL = {  # source: (printed, mode)
    "open-rdc/orne-box issue 16, 'Xavier' fan control (JetPack 4)": (
        "NV Fan Mode:quiet\nNV Power Mode: MAXN\n",
        "MAXN",
    ),
    "NVIDIA-AI-IOT/jetbot issue 49, 'NVPM ERROR when running nvpmodel -q' (Nano, JetPack 4, without root)": (
        "NV Power Mode: 5W\n1\nNVPM ERROR: Error opening /sys/kernel/nvpmodel_emc_cap/emc_iso_cap: 13\n"
        "NVPM ERROR: failed to read PARAM EMC: ARG MAX_FREQ: PATH /sys/kernel/nvpmodel_emc_cap/emc_iso_cap\n",
        "5W",
    ),
    "a public report on a reComputer Orin Nano (JetPack 6.2.1)": ("NV Power Mode: 25W\n1\n", "25W"),
    "a public report on an Orin Nano, `nvpmodel -q --verbose` (JetPack 6)": (
        "NVPM VERB: Config file: /etc/nvpmodel.conf\nNVPM VERB: parsing done for /etc/nvpmodel.conf\n"
        "NVPM VERB: Current mode: NV Power Mode: 25W\n1\n"
        "NVPM VERB: PARAM CPU_ONLINE: ARG CORE_0: PATH /sys/devices/system/cpu/cpu0/online: REAL_VAL: 1 CONF_VAL: 1\n",
        "25W",
    ),
    "AbuAyah110/jetbot-orin-super issue 1, 'A1: Confirm JetPack / L4T' (L4T 36.4.4)": (
        "NV Power Mode: MAXN_SUPER\n",
        "MAXN_SUPER",
    ),
    "anduril/jetpack-nixos pull request 460, 'nvpmodel: fix mode switching on JP7' (Thor)": (
        "NV Power Mode: MAXN\n0\n",
        "MAXN",
    ),
}

RELEASES = {  # source: (first line of /etc/nv_tegra_release, what we say)
    "ggoretkin-bdai's gist on a Xavier NX": (
        "# R32 (release), REVISION: 7.2, GCID: 30192233, BOARD: t186ref, EABI: aarch64, DATE: Sun Apr 17 09:53:50 UTC 2022",
        "JetPack 4 (L4T 32.7.2)",
    ),
    "dusty-nv/jetson-containers, jetson_containers/l4t_version.py": (
        "# R35 (release), REVISION: 3.1, GCID: 32790763, BOARD: t186ref, EABI: aarch64, DATE: Wed Mar 15 07:54:12 UTC 2023",
        "JetPack 5 (L4T 35.3.1)",
    ),
    "a public report on an AGX Orin of 5 October 2026, its end; GCID left out": (
        "# R36 (release), REVISION: 4.7, GCID: 0, BOARD: generic, EABI: aarch64, DATE: Thu Sep 18 22:54:44 UTC 2025",
        "JetPack 6 (L4T 36.4.7)",
    ),
}

# `vcgencmd get_throttled`; bits as the Raspberry Pi documentation, 'vcgencmd: get_throttled', lists them.
PI_THROTTLED = {
    "throttled=0x0": False,
    "throttled=0x50005": True,  # pastebin xRpwmYYs: low voltage and throttled now, both before
    "throttled=0x50000": False,  # only before
    "throttled=0x1": False,  # a low voltage that has not slowed it
    "throttled=0x8": True,  # soft temperature limit
    "0": False,  # the kernel's own file has the number alone
    "e0002": True,
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A board as files below a root, and what its tools print."""

    name: str
    source: str
    files: Mapping[str, str]
    prints: Mapping[str, str] = field(default_factory=dict)

    def lie_in(self, root: Path) -> Path:
        for path, text in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return root

    def run(self, *command: str, lines: int) -> str:
        return "\n".join(self.prints.get(command[0], "").splitlines()[:lines])


def meminfo(total_kb: int, free_kb: int, available_kb: int) -> str:
    """The kernel's documentation, filesystems/proc.rst, 'meminfo'."""
    return (
        f"MemTotal:       {total_kb} kB\nMemFree:        {free_kb} kB\nMemAvailable:   {available_kb} kB\n"
        "Buffers:           96248 kB\nCached:          5589668 kB\nHugePages_Total:       0\n"
    )


def zones(**temperatures: float) -> dict[str, str]:
    """The kernel's documentation, driver-api/thermal/sysfs-api.rst: millidegrees beside the zone's type."""
    found = {}
    for number, (name, celsius) in enumerate(temperatures.items()):
        found[f"sys/class/thermal/thermal_zone{number}/type"] = f"{name.replace('_', '-')}\n"
        found[f"sys/class/thermal/thermal_zone{number}/temp"] = f"{round(1000 * celsius)}\n"
    return found


def cooling(**states: int) -> dict[str, str]:
    """The same documentation: a cooling device's state beside its type."""
    found = {}
    for number, (name, state) in enumerate(states.items()):
        found[f"sys/class/thermal/cooling_device{number}/type"] = f"{name.replace('_', '-')}\n"
        found[f"sys/class/thermal/cooling_device{number}/cur_state"] = f"{state}\n"
    return found


def policy(number: int, now: int, most: int, governor: str = "schedutil") -> dict[str, str]:
    """The kernel's documentation, admin-guide/pm/cpufreq.rst: kHz."""
    folder = f"sys/devices/system/cpu/cpufreq/policy{number}"
    return {
        f"{folder}/scaling_cur_freq": f"{now}\n",
        f"{folder}/scaling_max_freq": f"{most}\n",
        f"{folder}/scaling_governor": f"{governor}\n",
        f"{folder}/scaling_available_governors": "conservative ondemand userspace powersave performance schedutil \n",
    }


def modes(*names: str) -> str:
    """How a mode begins in /etc/nvpmodel.conf: L4T Development Guide, 'Power Management for Jetson Nano', example of mode 1."""
    return "".join(
        f"< POWER_MODEL ID={number} NAME={name} >\nCPU_ONLINE CORE_1 1\n" for number, name in enumerate(names)
    )


def hwmon(chip: int, *channels: tuple[str, int, int]) -> dict[str, str]:
    """The kernel's documentation, hwmon/ina3221.rst, and alumet-dev/alumet issue 212: labels, mV and mA of three channels."""
    folder = f"sys/class/hwmon/hwmon{chip}"
    found = {f"{folder}/name": "ina3221\n", f"{folder}/in7_label": "sum of shunt voltages\n"}
    for number, (label, millivolts, milliamperes) in enumerate(channels, 1):
        found[f"{folder}/in{number}_label"] = f"{label}\n"
        found[f"{folder}/in{number}_input"] = f"{millivolts}\n"
        found[f"{folder}/curr{number}_input"] = f"{milliamperes}\n"
        found[f"{folder}/in{number + 3}_input"] = "1240\n"  # shunt voltages, in microvolts
    return found


def iio(address: str, device: int, *channels: tuple[str, int]) -> dict[str, str]:
    """L4T Development Guide 32.7, 'Power Management', 'Software-Based Power Consumption Modeling': names and mW."""
    folder = f"sys/bus/i2c/drivers/ina3221x/{address}/iio:device{device}"
    found = {}
    for number, (rail, milliwatts) in enumerate(channels):
        found[f"{folder}/rail_name_{number}"] = f"{rail}\n"
        found[f"{folder}/in_power{number}_input"] = f"{milliwatts}\n"
        found[f"{folder}/in_voltage{number}_input"] = "19072\n"
        found[f"{folder}/in_current{number}_input"] = "24\n"
    return found


TX2 = Machine(
    name="TX2",
    source=f"JetPack 4: {LINES[2].source}; rails' addresses from the TX2 chapter of the L4T Development Guide",
    files={
        "proc/device-tree/model": "quill\0",
        "proc/sys/kernel/osrelease": "4.9.253-tegra\n",
        "proc/meminfo": meminfo(8047704, 4124000, 5100000),
        "etc/nv_tegra_release": "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t186ref, EABI: aarch64, DATE: x\n",
        "etc/nvpmodel.conf": modes("MAXN", "MAXQ", "MAXP_CORE_ALL", "MAXP_CORE_ARM", "MAXP_CORE_DENVER"),
        "var/lib/nvpmodel/status": "pmode:0003 fmode:quiet\n",
        "sys/class/devfreq/17000000.gp10b/cur_freq": "114750000\n",
        "sys/class/devfreq/17000000.gp10b/max_freq": "1122000000\n",
        **policy(0, 1420800, 2035200),
        **policy(1, 2034000, 2035200),
        **zones(BCPU_therm=42.5, MCPU_therm=42.5, GPU_therm=39.5, PMIC_Die=100, thermal_fan_est=41.3),
        **iio("0-0040", 0, ("VDD_SYS_GPU", 182), ("VDD_SYS_SOC", 730), ("VDD_4V0_WIFI", 0)),
        **iio("0-0041", 1, ("VDD_IN", 5297), ("VDD_SYS_CPU", 1917), ("VDD_SYS_DDR", 1241)),
    },
)
AGX_ORIN = Machine(
    name="AGX Orin",
    source=f"JetPack 5: {LINES[5].source}",
    files={
        "proc/device-tree/model": "Jetson AGX Orin\0",
        "proc/sys/kernel/osrelease": "5.10.65-tegra\n",
        "proc/meminfo": meminfo(31357952, 24000000, 29000000),
        "etc/nv_tegra_release": "# R35 (release), REVISION: 1.0, GCID: 31250864, BOARD: t186ref, EABI: aarch64, DATE: x\n",
        "etc/nvpmodel.conf": modes("MAXN", "MODE_15W", "MODE_30W", "MODE_40W"),
        "sys/class/devfreq/17000000.ga10b/cur_freq": "114750000\n",
        "sys/class/devfreq/17000000.ga10b/max_freq": "624750000\n",
        **policy(0, 729600, 1728000),
        **policy(4, 730000, 1728000),
        **zones(CPU_therm=43.5, GPU_therm=38.156, CV0_therm=-256, SOC0_therm=40.5),
        **cooling(pwm_fan=3, CPU_throttle_alert=0, GPU_throttle_alert=0),
        **hwmon(2, ("VDD_GPU_SOC", 19952, 240), ("VDD_CPU_CV", 19950, 40), ("VIN_SYS_5V0", 5023, 765)),
        **hwmon(1, ("another chip's", 12000, 9000)),
        "sys/class/hwmon/hwmon1/name": "ina219\n",
        **hwmon(3, ("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 1178, 600), ("NC", 0, 0)),
    },
    prints={"nvpmodel": "NV Power Mode: MODE_30W\n2\n"},
)
ORIN_NANO = Machine(
    name="Orin Nano",
    source=f"JetPack 6: {LINES[7].source}; cooling devices named as in R36's device tree",
    files={
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
        "proc/meminfo": meminfo(7802880, 900000, 5100000),
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: x\n",
        "etc/nvpmodel.conf": modes("15W", "25W", "MAXN_SUPER", "7W"),
        "sys/class/devfreq/17000000.gpu/cur_freq": "306000000\n",
        "sys/class/devfreq/17000000.gpu/max_freq": "918000000\n",
        "sys/class/devfreq/15340000.vic/cur_freq": "729600000\n",
        **policy(0, 729600, 1344000),
        **policy(4, 729600, 1344000),
        **zones(cpu_thermal=51.218, gpu_thermal=51.593, tj_thermal=51.718),
        **cooling(pwm_fan=1, cpu_throttle_alert=0, gpu_throttle_alert=1, hot_surface_alert=0),
        **hwmon(1, ("VDD_IN", 4992, 950), ("VDD_CPU_GPU_CV", 4992, 255), ("VDD_SOC", 4992, 247)),
    },
    prints={"nvpmodel": "NV Power Mode: 25W\n1\n"},
)
PI_5 = Machine(
    name="Raspberry Pi 5",
    source="emlogic.no, 'Step by step: thermal management' (one zone, cpu-thermal, and pwm-fan); Raspberry Pi documentation",
    files={
        "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "proc/sys/kernel/osrelease": "6.6.51+rpt-rpi-2712\n",
        "proc/meminfo": meminfo(8256432, 6000000, 7400000),
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n',
        **policy(0, 1500000, 2400000, governor="ondemand"),
        **zones(cpu_thermal=61.2),
        **cooling(pwm_fan=2),
    },
    prints={"vcgencmd": "throttled=0x50000\n"},
)
PC = Machine(
    name="PC",
    source="the kernel's documentation: power/powercap/powercap.rst, hwmon/k10temp.rst, ABI/testing/sysfs-platform_profile",
    files={
        "proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
        "proc/meminfo": meminfo(65536000, 20000000, 50000000),
        "proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD Ryzen 9 7950X\ncpu MHz\t\t: 4500.123\n\n"
        "processor\t: 1\nmodel name\t: AMD Ryzen 9 7950X\ncpu MHz\t\t: 5100.5\n",
        "etc/os-release": 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\n',
        "sys/class/dmi/id/sys_vendor": "ASUS\n",
        "sys/class/dmi/id/product_name": "ProArt X670E\n",
        "sys/firmware/acpi/platform_profile": "balanced\n",
        "sys/firmware/acpi/platform_profile_choices": "low-power balanced performance\n",
        "sys/class/hwmon/hwmon0/name": "nvme\n",
        "sys/class/hwmon/hwmon0/temp1_input": "71000\n",
        "sys/class/hwmon/hwmon1/name": "k10temp\n",
        "sys/class/hwmon/hwmon1/temp1_input": "54125\n",
        "sys/class/hwmon/hwmon1/temp1_crit": "95000\n",
        "sys/class/thermal/cooling_device0/type": "Processor\n",
        "sys/class/thermal/cooling_device0/cur_state": "0\n",
        "sys/class/powercap/intel-rapl:0/name": "package-0\n",
        "sys/class/powercap/intel-rapl:0/energy_uj": "125000000\n",
        "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "65532610987\n",
        "sys/class/powercap/intel-rapl:0:0/name": "core\n",
        "sys/class/powercap/intel-rapl:0:0/energy_uj": "1\n",
    },
)
MACHINES = [TX2, AGX_ORIN, ORIN_NANO, PI_5, PC]
