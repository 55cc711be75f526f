"""What is read of /proc/cpuinfo: three kinds of machine, and one without the file."""

from pathlib import Path

import pytest

from fedquad.spec import CampaignSpec, ModelSpec
from fedquad.store import processor
from flows.edge import campaign_spec
from tasks.prepare import gains_by_bf16

SAPPHIRE = "processor\t: 0\nmodel name\t: Intel Xeon\nflags\t\t: fpu avx512f avx512_bf16 amx_bf16\n\nprocessor\t: 1\nmodel name\t: Intel Xeon\n"
OLDER = "model name\t: AMD EPYC 7000\nflags\t\t: fpu avx2 no_avx512_bf16_here\n"
ORIN = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\nModel\t\t: Jetson AGX Orin\n"


@pytest.mark.parametrize(
    ("told", "name", "multiplies"),
    [(SAPPHIRE, "Intel Xeon", True), (OLDER, "AMD EPYC 7000", False), (ORIN, "Jetson AGX Orin", True)],
)
def test_model_and_instructions_are_read(
    told: str, name: str, multiplies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert processor.processor() == name
    assert processor.multiplies_bf16() is multiplies
    assert processor.bf16_pays(768) is multiplies
    assert not processor.bf16_pays(64)  # `mini`: its step takes twice as long in bf16


def test_where_nothing_is_told_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "nothing")
    assert processor.processor()
    assert not processor.multiplies_bf16()


def test_a_campaign_says_so_only_where_its_devices_train_on_this_cpu_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(SAPPHIRE)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    simulated = CampaignSpec()
    assert gains_by_bf16(simulated, "cpu", 768)
    assert not gains_by_bf16(simulated, "cpu", 64)
    assert not gains_by_bf16(simulated, "cuda", 768)
    assert not gains_by_bf16(campaign_spec("own-devices"), "cpu", 768)
    assert not gains_by_bf16(CampaignSpec(model=ModelSpec(precision="bf16")), "cpu", 768)
