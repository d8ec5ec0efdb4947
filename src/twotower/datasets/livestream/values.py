"""What the columns of the planted log can say: countries with their languages and places, networks, genders and ages."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twotower.datasets.livestream.hashes import Floats, Integers

__all__ = [
    "AGES", "AGE_SHARES", "BAND_OF_AGE", "COUNTRIES", "GENDERS", "GENDER_SHARES", "LANGUAGES", "NETWORKS", "NETWORK_SHARES",
    "NUM_BANDS", "PAIRS", "PAIR_COUNTRY", "PAIR_LANGUAGE", "PAIR_SHARES", "Country",
]  # fmt: skip


class Country(NamedTuple):
    """A country of the planted log.

    Attributes:
        code: ISO 3166, two letters.
        share: How many people live there, relative to the other countries.
        longitude: Of its middle, degrees.
        latitude: Of its middle, degrees.
        spread: Standard deviation of positions around the middle, degrees.
        languages: ISO 639 codes and how many speak each, relative to one another.
    """

    code: str
    share: float
    longitude: float
    latitude: float
    spread: float
    languages: dict[str, float]


COUNTRIES = (
    Country("US", 300, -95.0, 38.5, 8.0, {"en": 80, "es": 20}),
    Country("BR", 110, -48.0, -16.0, 6.0, {"pt": 95, "en": 5}),
    Country("MX", 75, -101.0, 21.5, 3.5, {"es": 95, "en": 5}),
    Country("GB", 70, -1.8, 52.8, 1.2, {"en": 95, "pl": 5}),
    Country("IN", 65, 78.5, 22.5, 5.0, {"hi": 60, "en": 40}),
    Country("PH", 55, 121.5, 13.5, 2.0, {"tl": 60, "en": 40}),
    Country("DE", 45, 10.3, 50.9, 1.5, {"de": 88, "tr": 7, "en": 5}),
    Country("CA", 42, -92.0, 47.5, 7.0, {"en": 76, "fr": 24}),
    Country("FR", 38, 2.6, 46.8, 1.7, {"fr": 95, "ar": 5}),
    Country("ES", 34, -3.7, 40.2, 1.7, {"es": 88, "ca": 12}),
    Country("CO", 32, -74.1, 4.8, 1.8, {"es": 100}),
    Country("AR", 30, -62.0, -34.0, 3.0, {"es": 100}),
    Country("IT", 28, 12.0, 43.0, 1.8, {"it": 96, "ar": 4}),
    Country("TR", 26, 33.0, 39.2, 2.5, {"tr": 92, "ku": 8}),
    Country("AU", 22, 143.0, -31.5, 5.0, {"en": 95, "zh": 5}),
    Country("PL", 18, 19.3, 52.1, 1.4, {"pl": 100}),
    Country("NL", 16, 5.4, 52.2, 0.5, {"nl": 90, "en": 10}),
    Country("EG", 15, 31.0, 29.3, 1.2, {"ar": 100}),
    Country("SA", 14, 44.5, 24.0, 2.5, {"ar": 92, "en": 8}),
    Country("ID", 14, 110.0, -6.8, 3.0, {"id": 100}),
    Country("PE", 12, -75.5, -10.0, 2.0, {"es": 100}),
    Country("CL", 11, -71.0, -34.5, 2.5, {"es": 100}),
    Country("ZA", 10, 26.5, -28.5, 2.5, {"en": 70, "af": 30}),
    Country("NG", 9, 6.8, 8.2, 1.8, {"en": 100}),
    Country("RO", 8, 25.0, 45.8, 1.2, {"ro": 92, "hu": 8}),
    Country("BE", 7, 4.6, 50.7, 0.6, {"nl": 57, "fr": 43}),
    Country("SE", 6, 16.5, 60.5, 2.5, {"sv": 92, "en": 8}),
    Country("PT", 6, -8.3, 39.7, 0.8, {"pt": 100}),
    Country("JP", 5, 137.5, 36.0, 2.0, {"ja": 100}),
    Country("CH", 4, 8.1, 46.9, 0.5, {"de": 66, "fr": 26, "it": 8}),
)

LANGUAGES = tuple(sorted({language for country in COUNTRIES for language in country.languages}))
NETWORKS = ("meetme", "pof", "skout", "zoosk", "tagged", "lovoo", "growlr", "hi5")
GENDERS = ("female", "male", "other")


def _shares(numbers: list[float]) -> Floats:
    array: Floats = np.array(numbers, dtype=np.float64)
    array /= array.sum()
    return array


NETWORK_SHARES = _shares([30, 22, 16, 10, 8, 6, 5, 3])
GENDER_SHARES = _shares([38, 59, 3])

PAIRS = tuple((country, language) for country in COUNTRIES for language in country.languages)
"""Every country with each of its languages: both are drawn at once."""

PAIR_COUNTRY: Integers = np.array([COUNTRIES.index(country) for country, _ in PAIRS], dtype=np.int64)
PAIR_LANGUAGE: Integers = np.array([LANGUAGES.index(language) for _, language in PAIRS], dtype=np.int64)
PAIR_SHARES = _shares(
    [country.share * country.languages[language] / sum(country.languages.values()) for country, language in PAIRS]
)

AGES: Integers = np.arange(18, 81, dtype=np.int64)
AGE_SHARES = _shares([float(np.exp(-abs(age - 25) / (6.0 if age < 25 else 13.0))) for age in range(18, 81)])

_BAND_STARTS = (18, 22, 27, 34, 43, 55)
NUM_BANDS = len(_BAND_STARTS)
BAND_OF_AGE: Integers = np.searchsorted(_BAND_STARTS, AGES, side="right").astype(np.int64) - 1
"""The band of each age of `AGES`: within one, tastes are alike."""
