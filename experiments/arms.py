"""What is compared: the cross-entropy alone, and with each penalty added."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from torch import Tensor, nn

from tsloss_fast import TSLoss
from tsloss_fast.losses import TopologicalLoss
from tsloss_fast.persistence import pairwise_distances
from tsloss_fast.tuning.objectives import L2Penalty

KINDS = {
    "ce": "cross-entropy alone",
    "l2": "L2",
    "pd": "pairwise distances",
    "surrogate": "surrogate",
    "literal": "literal surrogate",
    "exact": "exact persistence",
    "h0": "exact, H0 alone",
    "h1": "exact, H1 alone",
}
# The letters of a name, such as exact-b0.5 or surrogate-l1-tau0.1, and what they set.
SETTINGS = {"l": "lambda_ts", "b": "balance", "tau": "tau", "alpha": "alpha"}


class PairwiseDistanceLoss(TopologicalLoss):
    """lambda_ts times the mean distance of two rows. The paper's "PDLoss" has no formula; ours."""

    def __init__(self, lambda_ts: float = 1.0) -> None:
        super().__init__(lambda_ts)

    def terms(self, x: Tensor) -> dict[str, Tensor]:
        n = x.shape[-2]
        return {"pd": pairwise_distances(x).sum((-2, -1)) / (n * (n - 1))}


@dataclass(frozen=True)
class Arm:
    """One penalty and its weight, by a name such as ``exact-b0.5``.

    ``-l`` is followed by lambda_ts, ``-b`` by `GradientBalance`'s ratio, ``-tau`` and ``-alpha`` by
    the surrogate's options.
    """

    name: str
    kind: str = field(init=False)
    options: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        kind, *parts = self.name.split("-")
        found = [re.fullmatch(r"([a-z]+)([0-9.]+)", part) for part in parts]
        known = kind in KINDS and all(match and match[1] in SETTINGS for match in found)
        options = {SETTINGS[match[1]]: float(match[2]) for match in found if match} if known else {}
        weights = {"lambda_ts", "balance"} & options.keys()
        tuned = {"tau", "alpha"} & options.keys()
        fits = len(weights) == (kind != "ce") and (not tuned or kind in ("surrogate", "literal"))
        if not known or not fits:
            raise ValueError(
                f"arm: expected 'ce', or one of {tuple(KINDS)[1:]} with -l or -b and a number, and "
                f"-tau or -alpha behind surrogates, got {self.name!r}"
            )
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "options", options)

    @property
    def balance(self) -> float | None:
        """The ratio of the gradients' norms, or None where lambda_ts is fixed."""
        return self.options.get("balance")

    @property
    def label(self) -> str:
        """The arm in words."""
        words = {"lambda_ts": "λ", "balance": "balance"}
        settings = [f"{words.get(key, key)} {value:g}" for key, value in self.options.items()]
        return ", ".join([KINDS[self.kind], *settings])

    def penalty(self) -> nn.Module | None:
        """The module to call on the prompt; None for the cross-entropy alone."""
        options = {name: value for name, value in self.options.items() if name != "balance"}
        match self.kind:
            case "ce":
                return None
            case "l2":
                return L2Penalty(**options)
            case "pd":
                return PairwiseDistanceLoss(**options)
            case "surrogate" | "literal":
                return TSLoss("surrogate", self_pairs=self.kind == "literal", **options)
            case "h0":
                return TSLoss(beta_h1=0, **options)
            case "h1":
                return TSLoss(beta_h0=0, **options)
            case _:
                return TSLoss(**options)
