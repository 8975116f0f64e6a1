"""`treatystance.segment`: the sentence conventions, one small case each, and properties over any text."""

import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treatystance import segment as module
from treatystance.segment import segment


def pieces(text: str) -> list[str]:
    return [text[start:end] for start, end in segment(text)]


# "|" stands where a sentence ends; the text is what is left without it.
RUNNING_TEXT = {
    "two sentences": "We leave. | We stay.",
    "question and exclamation": "Must we leave? | Never! | We stay.",
    "both marks": "Leave now?! | We stay.",
    "title before a name": "Mr. Holm met Mrs. Aas, Dr. Bo and H.E. Ms. Lie. | They agreed.",
    "title in capitals": "MR. HOLM: We leave. | We do.",
    "title that opens": "Mr. Holm left. | They stay.",
    "ranks": "Gen. Holm, Col. Aas, Sgt. Bo and Capt. Lie left. | All went.",
    "offices": "Amb. Holm, Prof. Aas, Rev. Bo, Hon. Lie and Sen. Dahl spoke. | All sat.",
    "saint": "They met in St. Gallen. | It rained.",
    "acronym in a name": "The U.S. Congress, the U.N. Charter and the E.U. Council agree. | We do.",
    "genitive of an acronym": "The U.K.'s choice is final. | Ours is not.",
    "capital city": "They met in Washington, D.C. with us. | It rained.",
    "acronym that ends": "They left the U.S. | We will follow. | Soon.",
    "initials": "J. F. Holm and A. B. Aas signed. | We did not.",
    "numeral that ends": "We signed Protocol I. | This is known.",
    "e.g. and i.e.": "Some, e.g. Norway, i.e. one State, left. | Most stayed.",
    "etc. inside": "Mines, shells, etc. are banned. | Good.",
    "etc. that ends": "We banned mines, shells, etc. | States agreed.",
    "cf. and vs.": "This is so (cf. Holm vs. Aas). | It helps.",
    "No. and Nos.": "See No. 5 and Nos. 6 and 7. | They apply.",
    "the answer no": "We say no. | We mean it.",
    "articles": "Under Art. 20, Arts. 3 and 4, Art. IV and para. 3 we leave. | It is lawful.",
    "pages": "See p. 7, pp. 8 and 9, vol. 2, ch. 4, Sec. 5 and fig. 6. | All agree.",
    "companies": "Holm Inc. and Aas Ltd. sold to Bo & Co. Holdings. | We object.",
    "company that ends": "It was sold to Holm Inc. | We object.",
    "months": "On Jan. 5 and Sept. 11 we met. | We spoke.",
    "hours": "We met at 5 p.m. Thursday and 9.30 a.m. on Friday. | We spoke.",
    "hour that ends": "We met at 5 p.m. | The talk was short.",
    "decimals": "Growth was 3.5 per cent. | It fell to 2.1. | We know.",
    "section numbers": "Sections 2.1 and 2.1.3 apply. | Others do not.",
    "enumeration": "We ask for (a) peace; (b) bread; and (c) time. | Is it much?",
    "numbers after a colon": "We ask for: 1. Peace; 2. Bread. | Is it much?",
    "semicolon": "We leave; They stay. | That is all.",
    "three dots": "We waited ... and waited. | We hoped ... | Then we left...",
    "ellipsis": "We waited… and waited… | Then we left.",
    "dots in brackets": "The Parties (...) Agree to leave. | So be it.",
    "dots that open": "... We leave. | They stay.",
    "straight quote": 'They said "leave." | We stayed.',
    "curly quote": "They said “leave.” | We stayed.",
    "brackets": "(We leave.) | We stay (for now). | [We do.] | It is so.",
    "quote that opens": "They left. | “We stay,” he said.",
    "quotation inside": "He said: “We leave. We do not return.” | They wept.",
    "quotation that goes on": '"We leave. We do not return," he said. | They wept.',
    "question in a quotation": "“Must we leave?” he asked. | We must.",
    "quotation on its own": "“We leave. | We do not return.” | They wept.",
    "quotation left open": "He said: “We leave. | We do not return. | They wept.",
    "dateline": "OSLO, 5 May 2020 — We leave. | They stay.",
    "speaker label": "The Minister: We leave. | They stay.",
    "question label": "Q. Do you leave? | A. We do.",
    "paragraph number": "They left. | 68. Contrary to that, we stay. | 69. We do.",
    "year that ends": "It was in 1967. | The war was over.",
    "year that opens": "It was over. | 1967 was calm.",
    "small letter after": "We met the. others there. | They left.",
    "address": "Write to a.Holm@x.Org or see www.Holm.no/Some.Page and Read.Txt now. | Thanks.",
    "Spanish": "¿Nos vamos? | ¡Nunca! | Nos quedamos.",
    "French": "« Nous partons. » | Elle reste.",
    "Arabic": "هل نغادر؟ | لن نغادر.",
    "Urdu": "ہم جاتے ہیں۔ | وہ رہتے ہیں۔",
    "Hindi": "हम जाते हैं। | वे रहते हैं।",
    "no full stop": "We leave the treaty",
}


@pytest.mark.parametrize("marked", RUNNING_TEXT.values(), ids=RUNNING_TEXT)
def test_running_text(marked: str) -> None:
    assert pieces(marked.replace(" | ", " ")) == marked.split(" | ")


# The text, and its sentences.
LAYOUT = {
    "nothing": ("", []),
    "white space": (" \n\t\u00a0\u200b\r\n ", []),
    "missing spaces": (
        "This is the end.The next is here?Why not.",
        ["This is the end.", "The next is here?", "Why not."],
    ),
    "Chinese": ("我们离开。他们留下！真的吗？", ["我们离开。", "他们留下！", "真的吗？"]),
    "wide spaces": ("We leave.\u00a0\u2003We stay.\u200bWe do.", ["We leave.", "We stay.", "We do."]),
    "stray dash": ("We leave. —\n\nThey stay.", ["We leave. —", "They stay."]),
    "wrapped line": ("We leave\nthe treaty.\nThey stay.", ["We leave\nthe treaty.", "They stay."]),
    "wrapped hyphen": ("We leave the agree-\nment.", ["We leave the agree-\nment."]),
    "blank line": ("We leave\n\nThe treaty", ["We leave", "The treaty"]),
    "blank line with spaces": ("We leave;\n \t \nand go", ["We leave;", "and go"]),
    "Windows line ends": (
        "We leave\r\nthe treaty.\r\n\r\nThey stay",
        ["We leave\r\nthe treaty.", "They stay"],
    ),
    "paragraph separator": ("We leave\u2029they stay", ["We leave", "they stay"]),
    "number wrapped to the line start": (
        "We have always held to the aims of Agenda\n21. It binds us.",
        ["We have always held to the aims of Agenda\n21.", "It binds us."],
    ),
    "dash wrapped to the line start": (
        "The President\n— who is here — agrees.",
        ["The President\n— who is here — agrees."],
    ),
    "title in capitals": ("STATEMENT ON MINES\nWe leave.", ["STATEMENT ON MINES", "We leave."]),
    "title in title case": (
        "Statement on the Treaty\nNorway leaves.",
        ["Statement on the Treaty", "Norway leaves."],
    ),
    "title in small letters": ("Our view of mines\nWe leave.", ["Our view of mines", "We leave."]),
    "title between paragraphs": (
        "We leave.\nClimate and Peace\nThe seas rise.",
        ["We leave.", "Climate and Peace", "The seas rise."],
    ),
    "no title: the next word did not fit": (
        "President Holm and Prime Minister Aas of the Kingdom\nNorway agree with us.",
        ["President Holm and Prime Minister Aas of the Kingdom\nNorway agree with us."],
    ),
    "salutation": ("Mr. President,\nWe leave.", ["Mr. President,\nWe leave."]),
    "speaker above": ("The Minister:\nWe leave.", ["The Minister:\nWe leave."]),
    "dateline above": ("Oslo, 5 May 2020\nWe leave.", ["Oslo, 5 May 2020\nWe leave."]),
    "lead-in and list": ("We will:\n- leave;\n- pay", ["We will:", "leave;", "pay"]),
    "list without a lead-in": ("- We leave\n- We pay", ["We leave", "We pay"]),
    "wrapped list item": ("- We leave\n  the treaty\n- We pay", ["We leave\n  the treaty", "We pay"]),
    "two sentences in an item": ("- We leave. We pay.\n- We go.", ["We leave.", "We pay.", "We go."]),
    "text after a list": ("- leave\n- pay\nThe Minister agrees.", ["leave", "pay", "The Minister agrees."]),
    "list with blank lines": ("We will:\n\n- leave\n\n- pay", ["We will:", "leave", "pay"]),
    "numbered paragraphs": (
        "4.\tWe leave,\n5.\tWe pay\n6.\tWe go.",
        ["We leave,", "We pay", "We go."],
    ),
    "numbers in order": ("We\n1. leave\n2. pay", ["We", "leave", "pay"]),
    "Markdown number": ("3\\. We leave.\n\n4\\. We pay.", ["We leave.", "We pay."]),
    "marker on a line of its own": ("•\nWe leave.\n•\nWe pay.", ["We leave.", "We pay."]),
    "section number at the line start": ("2.1 We leave.\n2.2 We pay.", ["2.1 We leave.", "2.2 We pay."]),
}


@pytest.mark.parametrize(("text", "expected"), LAYOUT.values(), ids=LAYOUT)
def test_layout(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


MARKERS = [
    "- -",
    "* *",
    "• •",
    "– –",
    "— —",
    "· ·",
    "1. 2.",
    "1) 2)",
    "(1) (2)",
    "(a) (b)",
    "a) b)",
    "(iv) (v)",
]


@pytest.mark.parametrize("markers", [*MARKERS, "iv. v.", "II. III.", "9. 10."])
def test_list_markers_lie_outside(markers: str) -> None:
    first, second = markers.split()
    text = f"We will:\n{first} leave the treaty;\n  {second} honour it until then.\n\nThat is all."
    expected = ["We will:", "leave the treaty;", "honour it until then.", "That is all."]
    assert pieces(text) == expected


WORDS = 'We leave the Treaty U.S. Mr. No. 5 1. (a) iv. - — • * ... … . ? ! ; : , " “ ” ( ) 。 । ؟ « » é \\ \0'
SPACES = [" ", "  ", "\n", "\n\n", "\r\n", "\r", "\t", "\u00a0", "\u200b", "\u2028", "\u2029", "\x85", "\x0c"]
FRAGMENTS = st.sampled_from(WORDS.split(" ")) | st.sampled_from(SPACES)
TEXTS = st.lists(FRAGMENTS, max_size=60).map("".join) | st.text(max_size=200)
WHITE = "\u200b\u2060\ufeff"
# A list marker, written anew: between sentences lie only white space and markers at the start of their lines.
MARKER = r"[•▪■●◦‣∙·*–—-]|\(?[0-9]{1,3}\\?[.)]|\(?[A-Za-z]\)|[a-z]\\?[.)]|\(?[ivxlIVXL]{2,6}\\?[.)]"
DIGITS = str.maketrans({chr(code): "0" for code in range(0x80, 0x20000) if chr(code).isdecimal()})


@given(TEXTS)
def test_every_character_is_in_a_sentence_but_white_space_and_list_markers(text: str) -> None:
    spans = segment(text)
    assert spans == segment(text)
    plain = text.translate(DIGITS).translate(dict.fromkeys(map(ord, WHITE), " "))
    position = 0
    for start, end in spans:
        assert position <= start < end <= len(text)
        assert plain[start:end] == plain[start:end].strip()
        for line in re.split(r"[\r\n\u2028\u2029]", plain[position:start]):
            assert re.fullmatch(rf"\s*(?:{MARKER})?\s*", line), (line, text)
        if plain[position:start].strip():  # the first marker, too, stands at the start of its line
            marker = position + len(plain[position:start]) - len(plain[position:start].lstrip())
            assert not re.split(r"[\r\n\u2028\u2029]", plain[:marker])[-1].strip(), text
        position = end
    assert not plain[position:].strip()


@given(st.lists(st.sampled_from([text for text in RUNNING_TEXT.values() if "left open" not in text]), max_size=3))
def test_a_blank_line_keeps_texts_apart(texts: list[str]) -> None:
    expected = [sentence for marked in texts for sentence in marked.split(" | ")]
    assert pieces("\n\n".join(texts).replace(" | ", " ")) == expected


@pytest.mark.parametrize("marked", RUNNING_TEXT.values(), ids=RUNNING_TEXT)
def test_a_sentence_alone_is_one_sentence(marked: str) -> None:
    for sentence in marked.split(" | "):
        if not re.match(r"\d+\. ", sentence):  # alone, a paragraph number is a list's and lies outside
            assert pieces(sentence) == [sentence]


UNITS = [
    ".",
    " ",
    '"',
    "(",
    "a",
    "\n",
    "\r",
    "\u200b",
    "*",
    ". ",
    "a. ",
    "A.",
    "1. ",
    '"a. ',
    "“A. ",
    'x "A. A." ',
]
UNITS += ["\nA", "\n- a", "\n1. ", "\n(", "a \n", "(a) ", "- ", '?" ', "§! ", ".\nA b", "\n \n", "- \n"]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("ending", ["", "x", " We leave. They stay."])
def test_the_time_is_linear(unit: str, ending: str) -> None:
    """Were it quadratic, 200,000 characters would take minutes."""
    spans = segment(unit * (200_000 // len(unit)) + ending)
    assert sum(end - start for start, end in spans) <= 200_000 + len(ending)


@pytest.mark.corpora
def test_agreement_with_the_annotated_spans() -> None:
    """The annotations were cut by another segmenter, which differs from the conventions here and there."""
    folder = os.environ.get("TREATYSTANCE_CORPORA")
    if not folder:
        pytest.skip("NOT CHECKED AGAINST THE CORPORA: TREATYSTANCE_CORPORA does not name their folder")
    parquet = pytest.importorskip("pyarrow.parquet")
    annotations = Path(module.__file__).parent / "data" / "annotations" / "development.jsonl"
    rows = [json.loads(line) for line in annotations.read_text(encoding="utf-8").splitlines()]
    found: set[tuple[str, str, int, int]] = set()
    for corpus in {row["corpus"] for row in rows}:
        wanted = {row["doc_id"] for row in rows if row["corpus"] == corpus}
        table = parquet.read_table(Path(folder) / f"{corpus}.parquet", columns=["doc_id", "text"])
        for doc_id, text in zip(*table.to_pydict().values(), strict=True):
            if doc_id in wanted:
                found.update((corpus, doc_id, *span) for span in segment(text))
    agreed = sum((row["corpus"], row["doc_id"], row["start"], row["end"]) in found for row in rows)
    assert agreed / len(rows) >= 0.97  # 0.980 when written
