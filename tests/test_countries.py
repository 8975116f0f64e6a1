import pytest

from treatystance.models.countries import OTHER_COUNTRY, OWN_COUNTRY, CountryMarker
from treatystance.models.ngrams import country_names


@pytest.fixture(scope="module")
def mark() -> CountryMarker:
    return CountryMarker(country_names())


@pytest.mark.parametrize(
    ("text", "government", "read"),
    [
        ("Poland will leave it.", "POL", "our country will leave it."),
        ("Poland will leave it.", "LTU", "another country will leave it."),
        ("Poland will leave it.", None, "another country will leave it."),
        ("Poland will leave it.", "*", "our country will leave it."),
        ("POLAND’s parliament", "POL", "our country’s parliament"),
        ("The United States and Poland agree.", "USA", "our country and another country agree."),
        ("the Republic of Korea, the Korea of old", "KOR", "our country, our country of old"),
        ("We leave; they, too.", "POL", "We leave; they, too."),
        ("Nigerian and Niger", "NER", "another country and our country"),
        ("", "POL", ""),
        ("the", "POL", "the"),
        ("Poland Poland", "POL", "our country our country"),
        ("İ Poland\n— ends", "POL", "İ our country\n— ends"),
    ],
)
def test_names_are_told_apart(mark: CountryMarker, text: str, government: str | None, read: str) -> None:
    assert mark(text, government) == read


def test_only_whole_words_are_names(mark: CountryMarker) -> None:
    assert mark("Polandish malice, a chadless turkeyshoot", "POL") == "Polandish malice, a chadless turkeyshoot"


def test_the_marks_name_no_country(mark: CountryMarker) -> None:
    marked = mark("France and Poland", "POL")
    assert marked == f"{OTHER_COUNTRY} and {OWN_COUNTRY}"
    assert mark(marked, "POL") == marked
