"""Random numbers by what they are for."""

from __future__ import annotations

import numpy as np

from twotower.datasets.livestream.hashes import Hashes, inverse_modulo

MASK = 2**64 - 1


def mixed(value: int) -> int:
    """SplitMix64's finaliser, in Python's own integers."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def test_bits_are_those_of_splitmix64() -> None:
    key = mixed((5 + 0x9E3779B97F4A7C15) & MASK)
    for byte in b"age":
        key = mixed((key + byte + 0x9E3779B97F4A7C15) & MASK)
    wanted = [mixed((number * 0x9E3779B97F4A7C15 + key) & MASK) for number in (0, 1, 2**40)]
    assert Hashes(5).bits("age", np.array([0, 1, 2**40])).tolist() == wanted


def test_uniform_numbers_are_uniform_and_independent() -> None:
    numbers = np.arange(100_000)
    first, second = Hashes(1).uniform("a", numbers), Hashes(1).uniform("b", numbers)
    counts = np.histogram(first, bins=10, range=(0, 1))[0]
    assert np.abs(counts - 10_000).max() < 500
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02
    assert not np.array_equal(first, Hashes(2).uniform("a", numbers))


def test_normal_numbers() -> None:
    drawn = Hashes(3).normal("x", np.arange(100_000))
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02
    assert abs((np.abs(drawn) < 1.96).mean() - 0.95) < 0.01


def test_the_numbers_given_are_not_changed() -> None:
    numbers = np.arange(3)
    Hashes(0).bits("a", numbers)
    assert numbers.tolist() == [0, 1, 2]


def test_inverse() -> None:
    assert 12345 * inverse_modulo(12345, 31) % 2**31 == 1
