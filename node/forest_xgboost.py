"""XGBoost's JSON model files (``Booster.save_model("x.json")``), from 1.6 on: gbtree and dart with one output.

Rules are those of ``src/common/categorical.h`` and ``src/tree``: values are float32, ``x < condition`` goes left, NaN
goes to the default, a category in the node's set goes right, and leaves are added in float32.
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np

from mixline.kernels.forest_layout import MISSING_LEFT, MISSING_RIGHT, Trees
from mixline.node.forest_model import ForestError, Model, joined, sized

LINKS = {
    "binary:logistic": "sigmoid",
    "reg:logistic": "sigmoid",
    "count:poisson": "exp",
    "reg:gamma": "exp",
    "reg:tweedie": "exp",
    "survival:cox": "exp",
    "survival:aft": "exp",
}
PLAIN = (
    "reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror",
    "reg:linear", "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map",
)  # fmt: skip
LOGITS = ("binary:logistic", "reg:logistic")


def read_xgboost(data: bytes) -> Model:
    """The model in the bytes of a file; :class:`ForestError` says what is wrong or not supported."""
    try:
        learner = msgspec.json.decode(data)["learner"]
        facts, booster = learner["learner_model_param"], learner["gradient_booster"]
        objective = learner["objective"]["name"]
        weights = None
        if booster["name"] == "dart":
            weights, booster = booster["weight_drop"], booster["gbtree"]
        if booster["name"] != "gbtree":
            raise ForestError(f"booster {booster['name']!r} has no trees; gbtree and dart are supported")
        model = booster["model"]
        if int(facts.get("num_class", "0")) > 1 or int(facts.get("num_target", "1")) > 1:
            raise ForestError("a score is one number; models of several classes or targets are not supported")
        count = int(facts["num_feature"])
        names = learner.get("feature_names") or [f"f{at}" for at in range(count)]
        one = [read_tree(at, tree) for at, tree in enumerate(model["trees"])]
        base = np.float32(str(facts["base_score"]).strip("[]"))
    except ForestError:
        raise
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise ForestError(f"not a model of XGBoost: {type(error).__name__}: {error}") from None
    if len(names) != count:
        raise ForestError(f"{len(names)} feature_names for num_feature = {count}")
    if weights is not None:
        drops = sized(weights, len(one), "weight_drop").astype(np.float32)
        one = [tree._replace(values=tree.values * drop) for tree, drop in zip(one, drops, strict=True)]
    return Model(
        library="XGBoost",
        names=names,
        trees=joined(count, one, single=True),
        start=margin(objective, base),
        scale=1.0,
        link=LINKS.get(objective, "identity" if objective in PLAIN else ""),
        slope=1.0,
        labels=labels_of(model.get("cats") or {}, count),
    )


def margin(objective: str, base: np.float32) -> float:
    """What the sum begins with: the base score before the link, in float32."""
    if objective in LOGITS:
        if not 0 < base < 1:
            raise ForestError(f"base_score = {base}: a probability lies between 0 and 1")
        return float(-np.log(np.float32(1) / base - np.float32(1)))
    return float(np.log(base)) if LINKS.get(objective) == "exp" else float(base)


def read_tree(at: int, tree: dict[str, Any]) -> Trees:
    """One entry of ``trees``: nodes and leaves are numbered together there."""
    if int(tree["tree_param"].get("size_leaf_vector", "1") or 1) > 1:
        raise ForestError(f"trees[{at}]: its leaves are vectors; a score is one number")
    left = np.asarray(tree["left_children"], dtype=np.int64)
    count = len(left)
    right = sized(tree["right_children"], count, "right_children").astype(np.int64)
    conditions = sized(tree["split_conditions"], count, "split_conditions").astype(np.float32)
    kinds = sized(tree.get("split_type") or np.zeros(count), count, "split_type").astype(np.int64)
    defaults = sized(tree["default_left"], count, "default_left").astype(bool)
    feature = sized(tree["split_indices"], count, "split_indices").astype(np.int32)
    reached = reachable(left, right)
    inner = reached & (left >= 0)
    leaf = reached & (left < 0)
    place = np.where(inner, np.cumsum(inner) - 1, ~(np.cumsum(leaf) - 1))
    members, sets, categories = categories_of(tree, count)
    belongs = inner & (kinds == 1)
    if (members[belongs] < 0).any():
        raise ForestError(f"trees[{at}]: a categorical split without categories")
    swapped = belongs  # what is in the set goes right there, left here
    ways = np.where(defaults ^ swapped, MISSING_LEFT, MISSING_RIGHT)
    return Trees(
        features=0,
        nodes=np.array([0, inner.sum()]),
        leaves=np.array([0, leaf.sum()]),
        feature=feature[inner],
        # x < t is x <= the float32 before t
        threshold=np.nextafter(conditions, np.float32(-np.inf))[inner].astype(np.float64),
        left=place[np.where(swapped, right, left)[inner]].astype(np.int32),
        right=place[np.where(swapped, left, right)[inner]].astype(np.int32),
        missing=ways[inner].astype(np.uint8),
        members=np.where(belongs, members, -1)[inner].astype(np.int32),
        sets=sets,
        categories=categories,
        values=conditions[leaf].astype(np.float64),
        single=True,
    )


def reachable(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Nodes that can be come to: pruning leaves others behind."""
    found = np.zeros(len(left), dtype=bool)
    edge = np.zeros(1, dtype=np.int64)
    while len(edge):
        if edge.min() < 0 or edge.max() >= len(left) or found[edge].any():
            raise ForestError("children that are no nodes, or of two nodes")
        found[edge] = True
        inner = edge[left[edge] >= 0]
        edge = np.concatenate([left[inner], right[inner]])
    return found


def categories_of(tree: dict[str, Any], count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The set of each node (-1: none), where each begins, and their members."""
    nodes = np.asarray(tree.get("categories_nodes") or [], dtype=np.int64)
    starts = sized(tree.get("categories_segments") or [], len(nodes), "categories_segments").astype(np.int64)
    sizes = sized(tree.get("categories_sizes") or [], len(nodes), "categories_sizes").astype(np.int64)
    every = np.asarray(tree.get("categories") or [], dtype=np.int64)
    members = np.full(count, -1, dtype=np.int64)
    members[nodes] = np.arange(len(nodes))
    parts = [every[start : start + size] for start, size in zip(starts, sizes, strict=True)]
    return members, np.cumsum([0, *map(len, parts)]), np.concatenate([np.zeros(0, np.int64), *parts])


def labels_of(cats: dict[str, Any], count: int) -> dict[int, list[object]]:
    """The categories of each feature by number, where the model keeps those of the frame it was trained from."""
    found: dict[int, list[object]] = {}
    for at, one in enumerate((cats.get("enc") or [])[:count]):
        values, offsets = one.get("values") or [], one.get("offsets")
        if offsets and values:
            text = bytes(value & 0xFF for value in values)
            found[at] = [text[start:stop].decode() for start, stop in itertools.pairwise(offsets)]
        elif values:
            found[at] = list(values)
    return found
