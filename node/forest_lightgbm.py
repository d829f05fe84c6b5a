"""LightGBM's text model files (``Booster.save_model``), version v3 and v4: one regression, ranking or binary output.

Rules are those of ``include/LightGBM/tree.h``: ``x <= threshold`` goes left, a category in the node's bitset goes left,
and ``decision_type`` says what is missing (nothing, zero, or NaN) and where it goes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator

import numpy as np

from mixline.kernels.forest_layout import (
    MISSING_IS_ZERO,
    MISSING_LEFT,
    MISSING_RIGHT,
    ZERO_LEFT,
    ZERO_RIGHT,
    Trees,
)
from mixline.node.forest_model import ForestError, Model, joined

CATEGORICAL, LEFT = 1, 2
WAYS = np.array([[MISSING_IS_ZERO] * 2, [ZERO_RIGHT, ZERO_LEFT], [MISSING_RIGHT, MISSING_LEFT], [MISSING_IS_ZERO] * 2])
LINKS = {"binary": "sigmoid", "cross_entropy": "sigmoid", "poisson": "exp", "gamma": "exp", "tweedie": "exp"}
PLAIN = ("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")


def read_lightgbm(text: str) -> Model:
    """The model in the text of a file; :class:`ForestError` says what is wrong or not supported."""
    head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    if "\nend of trees" not in text:
        raise ForestError("the file ends before its trees do; save it again")
    keys = dict(pairs(head))
    if keys.get("num_class", "1") != "1" or keys.get("num_tree_per_iteration", "1") != "1":
        raise ForestError(f"num_class={keys.get('num_class')}: a score is one number; multiclass is not supported")
    names = keys.get("feature_names", "").split()
    if len(names) != int(keys.get("max_feature_idx", "-1")) + 1:
        raise ForestError(f"{len(names)} feature_names for max_feature_idx={keys.get('max_feature_idx')}")
    trees = joined(len(names), [read_tree(at, dict(pairs(block))) for at, block in enumerate(blocks)], single=False)
    link, slope = link_of(keys.get("objective", "").split())
    average = "average_output" in head.splitlines()
    return Model(
        library="LightGBM",
        names=names,
        trees=trees,
        start=0.0,
        scale=1.0 / len(blocks) if average and blocks else 1.0,
        link=link,
        slope=slope,
        labels=labels_of(text, trees),
    )


def pairs(block: str) -> Iterator[tuple[str, str]]:
    """``key=value`` lines."""
    for line in block.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            yield key, value


def numbers(tree: dict[str, str], key: str, dtype: type) -> np.ndarray:
    return np.array(tree.get(key, "").split(), dtype=dtype)


def read_tree(at: int, tree: dict[str, str]) -> Trees:
    """One ``Tree=`` block, its key ``Tree`` cut off."""
    if tree.get("is_linear", "0") != "0":
        raise ForestError(f"Tree={at}: is_linear={tree['is_linear']}: linear trees are not supported")
    try:
        values = numbers(tree, "leaf_value", np.float64)
        nodes = int(tree["num_leaves"]) - 1
        feature = numbers(tree, "split_feature", np.int32)
        threshold = numbers(tree, "threshold", np.float64)
        kinds = numbers(tree, "decision_type", np.int32)
        left, right = numbers(tree, "left_child", np.int32), numbers(tree, "right_child", np.int32)
        bounds = numbers(tree, "cat_boundaries", np.int64)
        words = numbers(tree, "cat_threshold", np.uint32)
    except (KeyError, ValueError, OverflowError) as error:
        raise ForestError(f"Tree={at}: {type(error).__name__}: {error}") from None
    if not len(feature) == len(threshold) == len(kinds) == len(left) == len(right) == nodes == len(values) - 1:
        raise ForestError(f"Tree={at}: num_leaves={nodes + 1}, but not so many splits and leaves")
    categorical = (kinds & CATEGORICAL) != 0
    sets = [members_of(words[start:stop]) for start, stop in itertools.pairwise(bounds)]
    return Trees(
        features=0,
        nodes=np.array([0, nodes]),
        leaves=np.array([0, nodes + 1]),
        feature=feature,
        threshold=threshold,
        left=left,
        right=right,
        missing=np.where(categorical, MISSING_RIGHT, WAYS[(kinds >> 2) & 3, (kinds & LEFT) // LEFT]).astype(np.uint8),
        members=np.where(categorical, threshold, -1).astype(np.int32),
        sets=np.cumsum([0, *map(len, sets)]),
        categories=np.concatenate([np.zeros(0, np.int64), *sets]),
        values=values,
        single=False,
    )


def members_of(words: np.ndarray) -> np.ndarray:
    """The categories in a bitset of 32-bit words."""
    return np.flatnonzero(np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little"))


def link_of(objective: list[str]) -> tuple[str, float]:
    """How the library's ``predict`` turns the sum into its output: a link of :class:`Model` and its slope."""
    name, options = (objective[0], objective[1:]) if objective else ("", [])
    if name in PLAIN:
        return ("squared" if "sqrt" in options else "identity"), 1.0
    if name == "cross_entropy_lambda":
        return "softplus", 1.0
    slope = next((float(one.partition(":")[2]) for one in options if one.startswith("sigmoid:")), 1.0)
    return LINKS.get(name, ""), slope


def labels_of(text: str, trees: Trees) -> dict[int, list[object]]:
    """The categories of each categorical feature by number, where the model was trained from a pandas frame."""
    line = next((one for one in reversed(text.splitlines()) if one.startswith("pandas_categorical:")), "")
    found = json.loads(line.partition(":")[2] or "null") if line else None
    if not found:
        return {}
    used = categorical_features(text)
    return dict(zip(used, found, strict=False)) if len(used) == len(found) else {}


def categorical_features(text: str) -> list[int]:
    """Features that were trained as categories: of the parameter ``categorical_feature``, else those whose
    ``feature_infos`` list values (``1:2:3``) and no range (``[low:high]``)."""
    lines = text.splitlines()
    named = (
        next((line for line in lines if line.startswith("[categorical_feature: ")), "").rpartition(" ")[2].strip("]")
    )
    if named and all(one.isdecimal() for one in named.split(",")):
        return sorted(map(int, named.split(",")))
    infos = next((line for line in lines if line.startswith("feature_infos=")), "=").partition("=")[2].split()
    return [at for at, info in enumerate(infos) if ":" in info and not info.startswith("[")]
