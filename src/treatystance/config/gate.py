"""The rules of the promotion gate: what a challenger must keep of the champion's merits, what a first model needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from treatystance.config.recipes import explain, read_yaml
from treatystance.config.sections import Count, Fraction, Section
from treatystance.errors import ConfigError

__all__ = ["GateRules", "load_gate_rules"]

Bound = Annotated[float, Field(ge=0)]


class GateRules(Section):
    """Bounds of the promotion gate. A fall is measured from the champion to the challenger, on the same rows.

    - `non_inferiority`: the lower end of the paired interval of the macro-F1 difference is above minus this.
    - `label_fall`: largest fall of a label's F1.
    - `slice_fall`, `slice_rows`, `slice_positives`: largest fall of macro-F1 in a slice of at least `slice_rows` rows,
      over the labels that `slice_positives` of them carry. A larger one refuses when its interval excludes none, too.
    - `ece_rise`, `brier_skill_fall`: largest rise of a label's expected calibration error and fall of its Brier skill
      score, with rows as drawn and weighted to ordinary text. A larger one refuses when the interval excludes none.
    - `behaviour_fall`, `phenomenon_fall`: largest fall of the mean pass rate of the behavioural tests, and of a single
      phenomenon's.
    - `first_macro_f1`, `first_ece`, `first_pass_rate`: least macro-F1, largest expected calibration error of a label
      and least mean pass rate of a model that has no champion to compare with.
    - `resamples`, `confidence`: of the paired bootstrap over documents. Where several intervals can refuse (slices,
      calibration), each is widened so that all hold together at this confidence (Bonferroni). Of 30 challengers made
      equal to the champion, a bare `slice_fall` refused 26, intervals of 95 % each 12, widened ones one.
    """

    non_inferiority: Bound = 0.01
    label_fall: Bound = 0.05
    slice_fall: Bound = 0.05
    slice_rows: Count = 200
    slice_positives: Count = 10
    ece_rise: Bound = 0.005
    brier_skill_fall: Bound = 0.05
    behaviour_fall: Bound = 0.02
    phenomenon_fall: Bound = 0.25
    first_macro_f1: Annotated[float, Field(ge=0, le=1)] = 0.3
    first_ece: Bound = 0.1
    first_pass_rate: Annotated[float, Field(ge=0, le=1)] = 0.6
    resamples: Annotated[int, Field(ge=100)] = 2000
    confidence: Fraction = 0.95


def load_gate_rules(path: Path) -> GateRules:
    """Read rules from a YAML file; what it leaves out is as in `GateRules`.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, a value has the wrong type or range.
    """
    values = read_yaml(path)
    try:
        plain = json.dumps(values, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: keys must be strings and values plain ({error})") from None
    try:
        return GateRules.model_validate_json(plain)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(explain(error))) from None
