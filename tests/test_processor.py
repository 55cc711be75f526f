"""What is read of /proc/cpuinfo, and whether bf16 pays: tried, never read off a list of instructions."""

from pathlib import Path

import pytest
from tiny import a_trainee

from fedquad.learn import half
from fedquad.learn.jobs import Open
from fedquad.learn.worker import Worker
from fedquad.spec import CampaignSpec, FleetSpec, ModelSpec
from fedquad.store import processor
from flows.edge import campaign_spec
from tasks.prepare import trains_here

XEON = "processor\t: 0\nmodel name\t: Intel Xeon\nflags\t\t: fpu avx512f\n\nprocessor\t: 1\nmodel name\t: Intel Xeon\n"
ORIN = "processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\nModel\t\t: Jetson AGX Orin\n"


@pytest.mark.parametrize(("told", "name"), [(XEON, "Intel Xeon"), (ORIN, "Jetson AGX Orin")])
def test_the_model_is_read(told: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    assert processor.processor() == name


def test_where_nothing_is_told_there_is_a_name_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "nothing")
    assert processor.processor()


def test_bf16_pays_for_wide_models_where_its_products_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert half.gain(64) > 0
    for gain, pays in ((1.0, False), (2.0, True)):
        monkeypatch.setattr(half, "gain", lambda width, gain=gain: gain)
        assert half.bf16_pays(768) is pays
        assert not half.bf16_pays(64)  # `mini`: its step takes twice as long in bf16


def test_a_training_process_says_so_of_a_model_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_trainee(tmp_path)  # which leaves the model's folder there
    monkeypatch.setattr(half, "bf16_pays", lambda width: True)

    def opened(precision: str) -> object:
        model = ModelSpec(name=str(tmp_path), precision=precision)  # type: ignore[arg-type]
        job = Open(model=model, labels=3, greatest_rank=4, splits={}, threads=1, objective="classification")
        return Worker().open(job)["bf16_pays"]

    assert opened("fp32") is True
    assert opened("bf16") is False


def test_only_simulated_devices_train_on_this_machine() -> None:
    assert trains_here(CampaignSpec())
    assert not trains_here(campaign_spec("own-devices"))
    assert not trains_here(CampaignSpec(fleet=FleetSpec(engine="dask", engine_address="tcp://127.0.0.1:9")))
