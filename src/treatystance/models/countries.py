"""Names of countries and peoples in running text, told apart by whether they are the speaker's own."""

from __future__ import annotations

from collections.abc import Mapping

from treatystance.models.ngrams import TOKEN, folded
from treatystance.statement import ANY_GOVERNMENT

__all__ = ["OTHER_COUNTRY", "OWN_COUNTRY", "CountryMarker"]

OWN_COUNTRY, OTHER_COUNTRY = "our country", "another country"


class CountryMarker:
    """Replaces the speaker's own names by "our country" and those of others by "another country".

    An encoder need then not know who speaks to tell whose exit a sentence tells of. In a news report, any country may
    be the one whose stance is told, and each counts as the speaker's own.

    Args:
        countries: lower-case names and their codes, such as `ngrams.country_names()`.
    """

    def __init__(self, countries: Mapping[str, str]) -> None:
        # By first word, the longest name first.
        self._names: dict[str, list[tuple[list[str], str]]] = {}
        for name, code in sorted(countries.items(), key=lambda item: (-len(item[0]), item[0])):
            if words := TOKEN.findall(folded(name)):
                self._names.setdefault(words[0], []).append((words, code))

    def __call__(self, text: str, government: str | None = None) -> str:
        """The text as said by `government`; an article before a replaced name goes with it."""
        # Most sentences hold no name: one look-up in C settles that.
        if self._names.keys().isdisjoint(TOKEN.findall(folded(text))):
            return text
        spans = [match.span() for match in TOKEN.finditer(text)]
        words = [folded(text[start:end]) for start, end in spans]
        pieces: list[str] = []
        done = i = 0
        while i < len(words):
            for name, code in self._names.get(words[i], ()):
                if words[i : i + len(name)] == name:
                    first = i - 1 if i and words[i - 1] == "the" and spans[i - 1][0] >= done else i
                    own = government in (code, ANY_GOVERNMENT)
                    pieces += [text[done : spans[first][0]], OWN_COUNTRY if own else OTHER_COUNTRY]
                    i += len(name)
                    done = spans[i - 1][1]
                    break
            else:
                i += 1
        return "".join([*pieces, text[done:]])
