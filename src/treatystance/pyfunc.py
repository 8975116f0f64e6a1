"""What MLflow loads: `mlflow.pyfunc.load_model` and `mlflow models serve` call `_load_pyfunc` on the model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from treatystance.artifact import load_artifact
from treatystance.errors import InputError
from treatystance.predictor import Predictor
from treatystance.statement import Statement

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PyfuncModel"]


class PyfuncModel:
    """A predictor behind MLflow's interface: a DataFrame of statements in, a DataFrame of scores and tags out."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score statements.

        Args:
            model_input: column `text`, and optionally `id`, `government`, `date`, `kind`.
            params: none are used.

        Raises:
            InputError: a text is not a string, or a fact is malformed.

        Returns:
            Columns `id` (the row's number where none is given), `score_<tag>`, `tag_<tag>`, `uncertain`, `model`, a row
            per statement in order.
        """
        import pandas as pd

        optional = [name for name in ("id", "government", "date", "kind") if name in model_input.columns]
        statements = []
        for number, record in enumerate(model_input.to_dict("records"), 1):
            if not isinstance(record["text"], str):
                raise InputError(f"row {number}: text must be a string, not {record['text']!r}")
            facts = {name: str(record[name]) for name in optional if not pd.isna(record[name])}
            statements.append(Statement(text=record["text"], **facts))
        rows = []
        for number, prediction in enumerate(self.predictor.predict(statements), 1):
            row: dict[str, Any] = {"id": prediction.id if prediction.id is not None else str(number)}
            row |= {f"score_{label}": score for label, score in prediction.scores.items()}
            row |= {f"tag_{label}": label in prediction.tags for label in prediction.scores}
            row |= {"uncertain": ";".join(prediction.uncertain), "model": prediction.model}
            rows.append(row)
        names = self.predictor.labels.names
        columns = ["id", *(f"score_{n}" for n in names), *(f"tag_{n}" for n in names), "uncertain", "model"]
        return pd.DataFrame(rows, columns=columns)


def _load_pyfunc(data_path: str) -> PyfuncModel:
    return PyfuncModel(Predictor(load_artifact(Path(data_path))))
