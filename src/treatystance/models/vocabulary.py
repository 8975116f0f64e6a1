"""A WordPiece tokenizer with fewer tokens, which cuts whatever text kept tokens spell exactly as before.

WordPiece takes the longest token that fits (Schuster & Nakajima 2012), so a token left out changes nothing where it was
not taken. Single characters are always kept: a word whose own token is gone is spelled by shorter ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from treatystance.errors import InputError

__all__ = ["prune"]


def prune(tokenizer_json: bytes, keep: Iterable[int]) -> tuple[bytes, list[int]]:
    """The tokenizer with the tokens of the ids `keep`, special tokens and single characters, renumbered in order.

    Returns:
        The tokenizer, and the former id of each of its tokens.

    Raises:
        InputError: not a WordPiece tokenizer, or an id that it lacks.
    """
    tokenizer: dict[str, Any] = json.loads(tokenizer_json)
    model = tokenizer["model"]
    if model.get("type") != "WordPiece":
        kind = model.get("type") or "another"
        raise InputError(f"tokens can be left out of a WordPiece tokenizer only, not of {kind}; export the whole one")
    vocabulary: dict[str, int] = model["vocab"]
    added = {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}
    kept = set(keep)
    if unknown := kept - {*vocabulary.values(), *added.values()}:
        raise InputError(f"the tokenizer has no token {min(unknown)} to keep")
    prefix = model["continuing_subword_prefix"]
    kept |= {number for token, number in vocabulary.items() if len(token.removeprefix(prefix)) == 1}
    kept |= {*added.values(), *_named(tokenizer)}
    if model["unk_token"] in vocabulary:
        kept.add(vocabulary[model["unk_token"]])
    former = sorted(kept)
    number_of = {old: new for new, old in enumerate(former)}
    model["vocab"] = {token: number_of[number] for token, number in vocabulary.items() if number in number_of}
    for entry in tokenizer["added_tokens"]:
        entry["id"] = number_of[entry["id"]]
    if tokenizer.get("padding"):
        tokenizer["padding"]["pad_id"] = number_of[tokenizer["padding"]["pad_id"]]
    for part in _processors(tokenizer):
        for special in part.get("special_tokens", {}).values():
            special["ids"] = [number_of[number] for number in special["ids"]]
        for end in ("sep", "cls"):
            if end in part:
                part[end] = [part[end][0], number_of[part[end][1]]]
    return json.dumps(tokenizer, ensure_ascii=False).encode(), former


def _processors(tokenizer: dict[str, Any]) -> list[dict[str, Any]]:
    """What puts special tokens around a text, in the parts that it is made of."""
    processor = tokenizer.get("post_processor") or {}
    return processor["processors"] if processor.get("type") == "Sequence" else [processor]


def _named(tokenizer: dict[str, Any]) -> set[int]:
    """The ids that padding and templates name."""
    named = {tokenizer["padding"]["pad_id"]} if tokenizer.get("padding") else set()
    for part in _processors(tokenizer):
        named.update(number for special in part.get("special_tokens", {}).values() for number in special["ids"])
        named.update(part[end][1] for end in ("sep", "cls") if end in part)
    return named
