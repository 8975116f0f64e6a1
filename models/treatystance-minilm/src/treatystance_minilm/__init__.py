"""Encoder models of treatystance, as data: folders `minilm` and `minilm-cascade`, loaded by `treatystance` by name."""
