"""What a card says of every model of this package's own tags and data, and what it says of any other."""

from __future__ import annotations

__all__ = [
    "ANNOTATED",
    "COMPOSED",
    "KINDS",
    "LIMITS",
    "LIMITS_OTHER",
    "MEANINGS",
    "MISUSE",
    "MISUSE_OTHER",
    "USE",
    "USE_OTHER",
]

MEANINGS = {
    "intent_to_withdraw": (
        "the government will leave, considers leaving, or has left or suspended a treaty, or threatens to leave"
    ),
    "reaffirmation": "it is, stays or becomes bound by a treaty, complies with it, or supports it",
    "humanitarian_commitment": (
        "it commits itself to protecting or helping people in conflict, disaster or displacement"
    ),
}

KINDS = {
    "linear": "Linear models over words, n-grams and classes of words, scored by table look-ups in numpy.",
    "encoder": "A transformer encoder with a head per label, exported to ONNX and scored by onnxruntime.",
    "cascade": (
        "A linear model that reads every sentence, and a transformer encoder (ONNX) that reads those in which a label "
        "is not out of the question."
    ),
}

USE = """\
- Finding, in many statements of governments, the sentences that are worth reading; each tag names its sentence.
- Counting and comparing stances over time or between groups, with the error rates below carried into the conclusion
  and a sample of the tagged and the untagged sentences read."""
USE_OTHER = """\
- Finding the sentences that are worth reading among many.
- Counting labels, with the error rates below carried into the conclusion."""

MISUSE = """\
- As evidence of what a government said or will do: read the document.
- To decide alone on anything that affects people, states or markets, or to alert without a reader in between.
- On speakers who are not governments (parties, companies, private persons), on other languages than English, or on
  social media posts: none was trained or tested on.
- To judge whether a government is sincere, or whether it does what it says."""
MISUSE_OTHER = """\
- To decide alone on anything that affects people.
- On texts of another kind, time or language than those it was trained and tested on."""

COMPOSED = """\
**Composed text** (`package:composed`): invented statements of real governments, composed for the corpus by language
models under the codebook, each sentence labelled by its writer. A second annotator of the same kind read every sentence
without the labels, and differences were decided by the codebook's rules. It is easily told from real text, and tags are
far more frequent in it."""

ANNOTATED = """\
**Annotated real text** (`package:annotations`): sentences of the UN General Debate Corpus (doi:10.7910/DVN/0TJX8Y) and
of White House publications. Each was labelled twice and independently under the codebook by language-model annotators,
who saw neither the other's labels nor a model's score; differences were adjudicated. Agreement among them runs higher
than among people: both are of one kind, so their errors are not independent, and nobody has measured how far people of
different schools would agree with them. Most rows were drawn because a model found them likely or hard; the
probability of having been drawn is recorded and used for the figures weighted to ordinary text. The package ships
labels and places, not the text."""

LIMITS = """\
- English only, much of it interpreted or translated speech; one rostrum and one government's publications are most of
  the real text, and real withdrawals come from few governments.
- Withdrawals are rare: about one sentence in 15,000 of ordinary text. Many of those that are tagged are false alarms,
  and indirect wording is missed more often than found.
- Own exits and others' exits differ in little else than who speaks: give the government where it is known.
- A tag rests on one sentence (an encoder sees the one before it too); a stance that takes a paragraph is missed.
- Labels follow one codebook. Another reading of "treaty" or of "commitment" gives other figures."""
LIMITS_OTHER = """\
- What is not in the training data cannot be relied upon: other sources, times and wordings.
- Labels follow one codebook and its annotators; the figures say how well those are matched, not how right they are."""
