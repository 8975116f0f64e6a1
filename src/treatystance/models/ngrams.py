"""From a sentence to its n-grams: the one tokenisation that training and scoring share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

__all__ = ["COUNTRY", "SELF", "char_ngrams", "country_names", "token_pattern", "tokenize", "word_ngrams"]

COUNTRY, SELF = "xcountry", "xself"
_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'"})

# Names that pycountry lacks: short forms, former names and former states that statements use.
_FORMER_AND_SHORT = {
    "america": "USA", "great britain": "GBR", "britain": "GBR", "soviet union": "SUN", "ussr": "SUN",
    "yugoslavia": "YUG", "czechoslovakia": "CSK", "burma": "MMR", "zaire": "COD", "congo": "COG",
    "democratic republic of the congo": "COD", "ivory coast": "CIV", "swaziland": "SWZ", "macedonia": "MKD",
    "iran": "IRN", "syria": "SYR", "russia": "RUS", "korea": "KOR", "north korea": "PRK", "south korea": "KOR",
    "republic of korea": "KOR", "democratic people's republic of korea": "PRK", "vietnam": "VNM", "laos": "LAO",
    "libya": "LBY", "tanzania": "TZA", "venezuela": "VEN", "bolivia": "BOL", "moldova": "MDA", "palestine": "PSE",
    "micronesia": "FSM", "brunei": "BRN", "turkey": "TUR", "kampuchea": "KHM", "upper volta": "BFA",
    "dahomey": "BEN", "ceylon": "LKA", "rhodesia": "ZWE", "byelorussia": "BLR", "german democratic republic": "DDR",
    "cape verde": "CPV", "east timor": "TLS", "gambia": "GMB", "bahamas": "BHS", "holland": "NLD",
}  # fmt: skip


@cache
def country_names() -> dict[str, str]:
    """Lower-case names of countries and peoples and their ISO 3166 alpha-3 codes, former states included."""
    import pycountry

    names: dict[str, str] = {}
    for country in pycountry.countries:
        for field in ("name", "common_name", "official_name"):
            name = getattr(country, field, None)
            if name:
                names[name.split(",")[0].lower()] = country.alpha_3
    names.update(_FORMER_AND_SHORT)
    for line in files("treatystance").joinpath("data", "demonyms.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            code, *words = line.split()
            names.update(dict.fromkeys(words, code))
    return names


def token_pattern(countries: Iterable[str]) -> re.Pattern[str]:
    """The pattern of a token: a country's name of several words, or a word with an inner apostrophe (but not 's)."""
    several = sorted((re.escape(name) for name in countries if not name.isalpha()), key=lambda n: (-len(n), n))
    return re.compile("|".join([*(rf"\b{name}\b" for name in several), r"\w+(?:'(?!s\b)\w+)?"]))


def tokenize(
    text: str, pattern: re.Pattern[str], countries: dict[str, str], government: str | None = None
) -> list[str]:
    """Lower-case tokens; a country's name becomes `xcountry`, or `xself` where it is the speaker's own."""
    tokens = pattern.findall(text.lower().translate(_QUOTES))
    if not countries:
        return tokens
    return [
        token if token not in countries else SELF if countries[token] == government else COUNTRY for token in tokens
    ]


def word_ngrams(tokens: list[str], longest: int) -> list[str]:
    """The distinct tokens, then every n-gram of two to `longest` tokens, joined by spaces.

    A word counts once per sentence (what recurs are function words); a longer n-gram hardly recurs, and counts as often
    as it stands.
    """
    longer = (" ".join(tokens[i : i + n]) for n in range(2, longest + 1) for i in range(len(tokens) - n + 1))
    return [*dict.fromkeys(tokens), *longer]


def char_ngrams(token: str, shortest: int, longest: int) -> list[str]:
    """The character n-grams of a token padded with a space on each side; they never cross a word."""
    padded = f" {token} "
    if len(padded) <= shortest:
        return [padded]
    return [padded[i : i + n] for n in range(shortest, longest + 1) for i in range(len(padded) - n + 1)]
