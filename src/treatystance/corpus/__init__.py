"""Labelled data: files → validated corpus, stand-off annotations, fingerprints, datasets, agreement."""

from treatystance.corpus.load import codebook_sha256, data_path, load_corpus
from treatystance.corpus.rows import Corpus, Row

__all__ = ["Corpus", "Row", "codebook_sha256", "data_path", "load_corpus"]
