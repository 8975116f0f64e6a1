"""Text to sentences, with character offsets. The conventions:

- A sentence runs from its first to its last non-space character, closing quotes and brackets included.
- Speaker labels and datelines belong to the sentence they introduce, a short quotation to the sentence it
  stands in; a semicolon ends nothing.
- A title, a list's lead-in ending in a colon and each list item are sentences; the bullet or number at the
  start of the line lies outside. In running text ("peace. 68. We ...") a number begins its sentence.
- A blank line always ends a sentence; a single line break does so only in lists and after titles.

Two passes: `_blocks` cuts at blank lines, list items and titles, `_is_end` judges the stops in each block.
The time is linear: quantifiers are possessive and every look around a place is bounded.
"""

import re
from collections.abc import Iterator
from itertools import chain

__all__ = ["segment"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEWLINE = r"(?>\r\n|[\r\n\u2028])"
_INVISIBLE = "\u200b\u2060\ufeff"  # zero-width spaces: white space to a reader, though not to `str.isspace`
_SPACE = rf"[\s{_INVISIBLE}]"
_INDENT = rf"(?:[^\S\r\n\u2028\u2029]|[{_INVISIBLE}])"  # white space within a line
_OPENERS = "\"'“‘„«‹([{<¿¡*_-–—「『（《"
_CLOSERS = "\"'”’“»›)\\]}*_」』）》"

# List markers; the backslash is Markdown's, which writes "3\\." for a number that is to stay as it is.
_MARKER = rf"""
    (?P<marker> [•▪■●◦‣∙·] | [*–—-](?={_SPACE})
      | (?: \((?:\d{{1,3}}|[A-Za-z]|[ivxl]{{2,6}})\) | [A-Z]\)
          | (?:\d{{1,3}}|[a-z]|[ivxl]{{2,6}}|[IVXL]{{2,6}})\\?[.)] ) (?={_SPACE})
    ) {_INDENT}*+ (?:{_NEWLINE} {_INDENT}*+)?+ (?=\S)
"""
_BEGINNING = re.compile(rf"(?P<blank> {_SPACE}*+ ) (?:{_MARKER})?+", re.VERBOSE)
# The line breaks worth a look: blank lines, list markers, lines that begin with a capital.
_BREAK = re.compile(
    rf"""(?: (?P<blank> (?:{_NEWLINE} {_INDENT}*+ [\r\n\u2028\u2029] | \u2029) {_SPACE}*+ )
           | {_NEWLINE} {_INDENT}*+ )
         (?: {_MARKER} | (?(blank) | (?=[^\W\d_a-z]) ) )""",
    re.VERBOSE,
)
_STOP = re.compile(rf"([.?!…‼⁇⁈⁉。！？｡।॥۔؟።։]++)(?:[{_CLOSERS}]|[ \u00a0\u202f]»)*+({_SPACE}*+)")
_LETTER = re.compile(r"\w")
_HARD_STOPS = frozenset("。！？｡।॥۔؟።։")  # scripts without capitals, often without spaces: always an end

# Never the last word of a sentence; titles only if capitalised ("Gen. Smith").
_TITLES = _words(
    "mr mrs ms dr st gen col hon amb prof rev sgt lt capt cpt maj cmdr cdr adm brig pres sen rep gov sec supt"
    " insp fr msgr messrs mme mlle sra ft mt h.e h.m h.h h.r.h h.i.m h.s.h"
)
_NEVER_LAST = _words("e.g i.e eg ie cf vs v viz ca approx doc docs the an and")
# Not the last word where a number follows ("No. 5", "Jan. 5").
_BEFORE_NUMBER = _words(
    "no nos art arts para paras p pp vol vols ch chap sec secs sect fig figs add corr rev res ref ser suppl"
    " tel nr cl est c jan feb mar apr jun jul aug sep sept oct nov dec"
)
# These, initials and "U.S." are the last word only where the next can hardly be part of the same name.
_MAYBE_LAST = _words("inc ltd co corp bros jr sr al ibid dept govt univ assn cit ed eds llc plc")
_STARTER = re.compile(
    r"(?:The|This|These|That|Those|Its?|We|Our|He|She|They|Their|There|Here|In|On|At|For|From|With|Without|As"
    r"|But|And|Or|If|When|While|Although|However|Moreover|Furthermore|Therefore|Thus|Nevertheless|Yet|So|Since"
    r"|After|Before|During|By|To|Today|Now|What|Why|How|Who|Where|Which|Such|Some|Many|Most|All|Both|Each|Every"
    r"|No|Not|Nor|Let|Under|You|An?|I|My|His|Her|Your)\b(?!\.)|M(?:rs?|s)\."
)
_ROMAN = re.compile(r"[IVXLC]+\b")
_SMALL_WORDS = _words("a an and as at by for from in into of on or over per the to under upon via with de la du")
_FILE_ENDING = re.compile(r"(?:com|org|net|gov|int|edu|info|pdf|docx?|xlsx?|txt|html?)\b", re.IGNORECASE)
_LIMIT = 300  # characters looked at around a place; a longer quotation is read as sentences of its own
_LONGEST_TITLE = 100
_NARROWEST = 50  # no column of running text is narrower: a shorter line was ended on purpose


def segment(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence of `text`: in order, not overlapping, no white space at either end."""
    spans = []
    for block, end in _blocks(text):
        start = block
        for stop in _STOP.finditer(text, block, end):
            if stop.end() < end and _is_end(text, start, stop, end):
                spans.append((start, stop.start(2)))
                start = stop.end()
        if start > block and not _LETTER.search(text, start, end):  # a stray dash or quote is no sentence
            start = spans.pop()[0]
        spans.append((start, end))
    return spans


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """The stretches between blank lines, list markers and titles, trimmed; none is empty."""
    start, in_item = 0, False
    last = ""  # the latest list marker, to recognise the one that follows it
    for found in chain(filter(None, [_BEGINNING.match(text)]), _BREAK.finditer(text)):
        marker, blank = found["marker"], found["blank"] is not None
        item = marker is not None and _is_list(text, found, blank, last)
        if not (blank or item or (marker is None and _is_title(text, start, found, in_item))):
            continue
        end = _trimmed(text, start, found.start())
        if end > start:
            yield start, end
        start = found.end() if item or marker is None else found.start("marker")
        in_item = item
        if item or not last.strip("()\\.").isdigit():  # of all lists, only numbers go on after other paragraphs
            last = marker if item else ""
    end = _trimmed(text, start, len(text))
    if end > start:
        yield start, end


def _trimmed(text: str, start: int, end: int) -> int:
    while end > start and (text[end - 1].isspace() or text[end - 1] in _INVISIBLE):
        end -= 1
    return end


def _is_list(text: str, found: re.Match[str], blank: bool, last: str) -> bool:
    """Is the marker that begins this line a list's, not a dash or number brought there by the wrapping?"""
    marker = found["marker"]
    if marker in "•▪■●◦‣∙·*":
        return True
    before = text[max(0, found.start() - 16) : found.start()].rstrip()
    if before.endswith(":") or _follows(marker, last):
        return True
    if marker not in "–—":  # these two are punctuation, unless a second one follows
        if blank or before.rstrip(_CLOSERS).endswith((".", "?", "!", ";", ",", "…", " and", " or")):
            return True
        if text[found.end("marker")] == "\t":  # the paragraph numbers of United Nations records
            return True
    newline = text.find("\n", found.end(), found.end() + _LIMIT)
    following = _BREAK.match(text, newline) if newline >= 0 else None
    return following is not None and _follows(following["marker"] or "", marker)


def _follows(marker: str, last: str) -> bool:
    """Does `marker` come after `last` in one list: "(b)" after "(a)", "7." after "6.", "-" after "-"?"""
    label, previous = marker.strip("()\\."), last.strip("()\\.")
    if not label or not previous or marker.replace(label, "") != last.replace(previous, ""):
        return False
    if label.isdigit() and previous.isdigit():
        return int(label) == int(previous) + 1
    return label == previous if label in "-–—" else label.isalpha() and previous.isalpha()


def _is_title(text: str, start: int, found: re.Match[str], in_item: bool) -> bool:
    """Was the line before this line break ended on purpose: a title, or the last line of a list?"""
    end = found.start()
    line_start = max(start, text.rfind("\n", max(0, end - _LONGEST_TITLE - 1), end) + 1)
    line = text[line_start:end].strip()
    if end - line_start > _LONGEST_TITLE or not line or not (line[-1].isalnum() or line[-1] in ')”"]*%'):
        return False
    if line_start > start and not in_item:  # not the first line of its block: a sentence has to end before it
        before = text[max(start, line_start - 16) : line_start].rstrip().rstrip(_CLOSERS)
        if not before.endswith((".", "?", "!", "…")):
            return False
    words = line.split()
    if words[-1].lower() in _SMALL_WORDS or ("," in line and re.search(r"\d", line)):  # the second: a dateline
        return False
    following = text[found.end() : found.end() + _LIMIT].partition("\n")[0]
    next_word = following.split(None, 1)[0]
    if line.isupper() and not in_item and (next_word in "AI" or not next_word.isupper()):
        return True
    # Wrapping does not move a word that would have fitted; ragged lines differ by a few characters.
    if len(line) + len(next_word) + 8 > max(_NARROWEST, len(following)):
        return False
    titled = all(word.lower() in _SMALL_WORDS or not word[0].islower() for word in words)
    return (titled and not in_item) or _STARTER.match(following) is not None


def _is_end(text: str, start: int, stop: re.Match[str], end: int) -> bool:
    """Does the sentence that begins at `start` end with this stop? Something follows it within the block."""
    dot, after, marks = stop.start(), stop.end(), stop[1]
    position = after
    while text[position] in _OPENERS and position + 1 < min(end, after + 6):
        position += 1
    following = text[position]
    empty = dot < start + 20 and not _LETTER.search(text, start, dot)  # "... We": nothing there to end
    omission = text[dot - 1] in "([" and text[stop.end(1)] in ")]"  # "(...)", "(?)"
    if following.islower() or following in ",;:.)]}%/&…?!" or empty or omission:
        return False
    if marks[-1] in _HARD_STOPS:
        return True
    if stop.start(2) == after and not _is_missing_space(text, dot, stop, position):
        return False
    if marks == "." and not _is_last_word(text, start, dot, position):
        return False
    return not _in_quotation(text, start, stop, end)


def _is_missing_space(text: str, dot: int, stop: re.Match[str], position: int) -> bool:
    """As in "end.The next", small letter, stop, capital, small letter; not in an address or a file name."""
    right = text[position : position + 2]
    straight = stop.end(1) < stop.end() and text[stop.end() - 1] in "\"'*_"  # opening or closing?
    if straight or not (text[dot - 1].islower() and right[0].isupper() and right[1:].islower()):
        return False
    token = text[max(0, dot - 60) : dot].split()[-1] + text[position : position + 60].split(None, 1)[0]
    address = token.startswith("www") or any(sign in token for sign in "@/\\_%=")
    return not address and not _FILE_ENDING.match(text, position)


def _is_last_word(text: str, start: int, dot: int, position: int) -> bool:
    """Can the single full stop at `dot` end a sentence, judged by the word before it and what comes after?"""
    if dot - start > 8 and text[dot - 8 : dot].isalpha():  # a long plain word: most sentences
        return True
    tail = text[max(start, dot - 16) : dot]
    word = "" if tail[-1].isspace() else re.split(r"[\s—–/-]", tail)[-1].lstrip(_OPENERS)
    if not word:
        return True
    if dot - start == len(word) and (len(word) == 1 or _ROMAN.fullmatch(word)):  # "II. The ..."
        return False
    if word.isdigit():  # a number that opens the sentence is a paragraph's; after ";" or ":" it counts
        before = text[max(start, dot - len(word) - 4) : dot - len(word)].rstrip().rstrip(_OPENERS).rstrip()
        return len(word) > 3 or not (before == "" or before[-1] in ";:")
    small, capital = word.lower(), word[0].isupper()
    if small in _NEVER_LAST or (capital and small in _TITLES):
        return False
    if small in _BEFORE_NUMBER:
        roman = capital and small != "no" and _ROMAN.match(text, position)
        return not (text[position].isdigit() or roman)
    acronym = "." in word and all(part.isalpha() and len(part) < 3 for part in word.split("."))  # "Ph.D"
    if small in _MAYBE_LAST or acronym or (capital and len(word) == 1):
        return _STARTER.match(text, position) is not None
    return True


def _in_quotation(text: str, start: int, stop: re.Match[str], end: int) -> bool:
    """Does the stop stand in a short quotation that is only a part of the sentence around it?"""
    low, high = max(start, stop.start() - _LIMIT), min(end, stop.end() + _LIMIT)
    for left, right in ("“”", "«»", '""'):
        opening = text.rfind(left, low, stop.start(2))
        if opening < 0 or text.find(right, opening + 1, stop.start(2)) >= 0:
            continue
        before = text[opening - 1] if opening > start else " "
        if left == right and not (before.isspace() or before in "([—–-:"):  # a straight quote that closes
            continue
        closing = text.find(right, stop.end(), high)
        if 0 <= closing <= opening + _LIMIT:
            goes_on = text[closing - 1] == "," or text[closing + 1 : closing + 3].strip()[:1].islower()
            return opening > start or goes_on
    return False
