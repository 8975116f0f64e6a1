"""The encoder family while it learns: a transformer, an average over the sentence's tokens, one linear layer. torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["Network"]


class Network(nn.Module):
    """A pretrained encoder with a linear head.

    Args:
        backbone: a Hugging Face encoder without a head, whose output has `last_hidden_state`.
        labels: number of labels.
        pooling: "mean" averages the tokens that `pool_mask` marks, "first" takes the first token.
        dropout: share of the embedding's values dropped before the head while training.
    """

    def __init__(self, backbone: Any, labels: int, pooling: str = "mean", dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(int(backbone.config.hidden_size), labels)

    @property
    def has_types(self) -> bool:
        """Whether the backbone tells a first text from a second by token types."""
        return int(getattr(self.backbone.config, "type_vocab_size", 0) or 0) > 1

    def embed(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pool_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Sentence embeddings, shape (sentences, hidden size), of token matrices of shape (sentences, tokens)."""
        types = {"token_type_ids": token_type_ids} if self.has_types and token_type_ids is not None else {}
        output = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **types)
        hidden: torch.Tensor = output.last_hidden_state
        if self.pooling == "first":
            return hidden[:, 0]
        mask = pool_mask.to(hidden.dtype).unsqueeze(-1)
        return (hidden * mask).sum(1) / mask.sum(1).clamp(min=1.0)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pool_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits in float32, shape (sentences, labels)."""
        return self.classify(self.embed(input_ids, attention_mask, pool_mask, token_type_ids))

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Logits in float32, shape (sentences, labels), of embeddings of shape (sentences, hidden size)."""
        logits: torch.Tensor = self.head(self.dropout(embedding).to(self.head.weight.dtype)).float()
        return logits
