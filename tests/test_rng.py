from fedquad import rng


def draws(*key: int | str) -> list[float]:
    return list(rng.stream(*key).random(4))


def test_a_key_always_gives_the_same_stream() -> None:
    assert draws(0, 1, "dropout") == draws(0, 1, "dropout")


def test_keys_that_look_alike_are_different_streams() -> None:
    keys = [(0, 1, "a"), (1, 0, "a"), (0, "1", "a"), (0, 1, "b"), (0, 1), ("0", 1, "a"), (0, 1, "a", 0)]
    assert len({tuple(draws(*key)) for key in keys}) == len(keys)


def test_the_bits_are_those_of_every_release() -> None:
    assert rng.stream(0, "golden").integers(0, 1000, 5).tolist() == [639, 649, 822, 71, 438]
