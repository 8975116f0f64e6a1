"""The model card in Hugging Face form: Markdown with YAML front matter, from plain mappings.

What a model does not record, because it is older or of another codebook, leaves a plain sentence in its place.
"""

from __future__ import annotations

from typing import Any

from treatystance.evidence import card_sections as sections
from treatystance.evidence import card_texts as texts
from treatystance.evidence.card_facts import PICTURES, CardFacts, mapping, number, pair

__all__ = ["PICTURES", "CardFacts", "model_card"]

_TASK = "text-classification"


def model_card(facts: CardFacts) -> str:
    """The card of a model, as Markdown."""
    parts = [
        ("What it does", sections.what(facts)),
        ("Intended use", texts.USE if facts.treaties else texts.USE_OTHER),
        ("What it must not be used for", texts.MISUSE if facts.treaties else texts.MISUSE_OTHER),
        ("How to use", sections.usage(facts)),
        ("Training data", sections.data(facts)),
        ("Results", sections.results(facts)),
        ("Calibration and abstention", sections.calibration(facts)),
        ("Where it is weakest", sections.slices(facts)),
        ("Behavioural tests", sections.behaviour(facts)),
        ("Limits", texts.LIMITS if facts.treaties else texts.LIMITS_OTHER),
        ("How it was made", sections.made(facts)),
    ]
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts)
    return f"---\n{_front_matter(facts)}\n---\n\n# {facts.name} {facts.version}\n\n{body}\n"


def _front_matter(facts: CardFacts) -> str:
    from huggingface_hub import ModelCardData

    tags = ["treatystance", "multi-class-classification" if facts.exclusive else "multi-label-classification"]
    data = ModelCardData(
        language="en" if facts.treaties else None,
        license="apache-2.0" if facts.shipped else None,
        library_name="treatystance",
        pipeline_tag=_TASK,
        tags=[*tags, "international-relations", "treaties"] if facts.treaties else tags,
        datasets=["treatystance"] if facts.shipped else None,
        metrics=["f1"],
        model_name=facts.name,
        eval_results=_eval_results(facts) or None,
    )
    return str(data.to_yaml()).strip()


def _eval_results(facts: CardFacts) -> list[Any]:
    """The entries of `model-index`; figures that a model lacks are left out."""
    from huggingface_hub import EvalResult

    found = []
    for key, title in (("cross_validation", "as drawn"), ("ordinary_text", "weighted to ordinary text")):
        report = mapping(facts.provenance.get(key))
        scores = [("macro", "Macro-F1", report.get("macro_f1"), report.get("macro_f1_ci"))]
        scores += [
            (label, f"F1 of {label}", part.get("f1"), part.get("f1_ci"))
            for label, part in facts.per_label(report).items()
        ]
        for average, name, value, interval in scores:
            if (score := number(value)) is None:
                continue
            ends = dict(zip(("low", "high"), (round(end, 4) for end in pair(interval) or ()), strict=False))
            found.append(
                EvalResult(
                    task_type=_TASK,
                    task_name="Text classification",
                    dataset_type="treatystance" if facts.shipped else facts.name,
                    dataset_name=f"cross-validation, {title}",
                    dataset_config=key,
                    metric_type="f1",
                    metric_name=name,
                    metric_value=round(score, 4),
                    metric_args={"average": average} | ends,
                )
            )
    return found
