"""The shipped components, listed by stage and kind: an explicit table, since nothing here is discovered by walking."""

from mixline.node.components.base import Component, Filter, Hydrator, Scorer, Selector, SideEffect, Source, stage_of
from mixline.node.components.filters.blocked_filter import BlockedFilter
from mixline.node.components.filters.duplicate_filter import DuplicateFilter
from mixline.node.components.filters.predicate_filter import PredicateFilter
from mixline.node.components.filters.seen_filter import SeenFilter
from mixline.node.components.hydrators.budgets_hydrator import BudgetsHydrator
from mixline.node.components.hydrators.columns_hydrator import ColumnsHydrator
from mixline.node.components.hydrators.counters_hydrator import CountersHydrator
from mixline.node.components.scorers.dot_scorer import DotScorer
from mixline.node.components.scorers.forest_scorer import ForestScorer
from mixline.node.components.scorers.weighted_scorer import WeightedScorer
from mixline.node.components.selectors.category_cap_selector import CategoryCapSelector
from mixline.node.components.selectors.dpp_selector import DppSelector
from mixline.node.components.selectors.mmr_selector import MmrSelector
from mixline.node.components.selectors.spacing_selector import SpacingSelector
from mixline.node.components.selectors.ssd_selector import SsdSelector
from mixline.node.components.selectors.topk_selector import TopKSelector
from mixline.node.components.selectors.weave_selector import WeaveSelector
from mixline.node.components.sources.given_source import GivenSource
from mixline.node.components.sources.item_to_item_source import ItemToItemSource
from mixline.node.components.sources.nearest_source import NearestSource
from mixline.node.components.sources.popular_source import PopularSource
from mixline.node.components.sources.walk_source import WalkSource

__all__ = [
    "KINDS",
    "Component",
    "Filter",
    "Hydrator",
    "Scorer",
    "Selector",
    "SideEffect",
    "Source",
    "stage_of",
]

KINDS: dict[str, dict[str, type[Component]]] = {
    "source": {
        "nearest": NearestSource,
        "item_to_item": ItemToItemSource,
        "walk": WalkSource,
        "popular": PopularSource,
        "given": GivenSource,
    },
    "hydrator": {"columns": ColumnsHydrator, "counters": CountersHydrator, "budgets": BudgetsHydrator},
    "filter": {
        "seen": SeenFilter,
        "blocked": BlockedFilter,
        "duplicate": DuplicateFilter,
        "predicate": PredicateFilter,
    },
    "scorer": {"dot": DotScorer, "weighted": WeightedScorer, "forest": ForestScorer},
    "selector": {
        "topk": TopKSelector,
        "category_cap": CategoryCapSelector,
        "mmr": MmrSelector,
        "dpp": DppSelector,
        "ssd": SsdSelector,
        "weave": WeaveSelector,
        "spacing": SpacingSelector,
    },
    "side_effect": {},
}
KINDS["source"]["item-to-item"] = ItemToItemSource
