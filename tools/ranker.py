"""A ranker learnt from what users chose: a surface is asked for candidates, what it knows of them are the features.

So features are those that serving will have, made by the same code. LightGBM's LambdaRank (Burges 2010) learns to put
what was chosen first; the file that it writes is what the scorer ``forest`` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from mixline.node.inprocess import Node
from mixline.node.request import Id

TREES, SEED = 150, 7
PARAMETERS = {
    "objective": "lambdarank",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.8,
    "lambdarank_truncation_level": 20,
    "num_threads": 2,
    "deterministic": True,
    "seed": SEED,
    "verbose": -1,
}


def rows_of(
    node: Node,
    surface: str,
    users: Sequence[Id],
    chosen: Sequence[np.ndarray],
    features: Sequence[str],
    requests: Sequence[dict[str, Any]] | None = None,
    **request: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, features) float32, labels (n,) uint8 and candidates of each user (int64) out of the pages of a
    surface; of users of whom it brought something that they chose. ``chosen``: item rows. ``requests``: what each one's
    says besides ``request``, which is of all."""
    parts, labels, sizes = [], [], []
    for user, wanted, own in zip(users, chosen, requests or [{}] * len(users), strict=True):
        page = node.ask(surface, user=user, explain=True, deadline_ms=60_000, **request, **own)
        met = np.isin(node.engine.epoch.items.rows_of(page.ids), wanted)
        if met.any() and not met.all():
            columns = [reason["columns"] for reason in page.explain or []]
            values = [[np.nan if one[name] is None else one[name] for name in features] for one in columns]
            parts.append(np.array(values, dtype=np.float32))
            labels.append(met.astype(np.uint8))
            sizes.append(len(met))
    if not parts:
        raise click.ClickException(
            f"surface {surface!r} brought nothing of what its users chose: nothing to learn from"
        )
    return np.concatenate(parts), np.concatenate(labels), np.array(sizes)


def learn(rows: tuple[np.ndarray, np.ndarray, np.ndarray], features: Sequence[str], model: Path) -> dict[str, float]:
    """Write the model into a file; returns how much each feature was worth (its share of the gain)."""
    import lightgbm

    values, labels, sizes = rows
    data = lightgbm.Dataset(values, labels, group=sizes, feature_name=[*features])
    booster = lightgbm.train(PARAMETERS, data, TREES)
    booster.save_model(model)
    gain = booster.feature_importance("gain")
    shares = gain / max(float(gain.sum()), 1e-9)
    return dict(sorted(zip(features, shares.tolist(), strict=True), key=lambda one: -one[1]))
