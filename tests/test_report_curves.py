from pathlib import Path

from fedquad.report import curves


def test_a_figure_is_drawn_of_every_arm(tmp_path: Path) -> None:
    rounds = [{"elapsed_seconds": 10.0 * n, "score": 0.3 + 0.1 * n} for n in range(1, 4)]
    arms = [{"label": label, "seed": seed, "rounds": rounds} for label in ("a", "b") for seed in (0, 1)]
    path = tmp_path / "figure.png"
    curves.draw({"arms": arms, "target": 0.5, "priced_as": "roberta-base"}, path)
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert path.stat().st_size > 10_000
