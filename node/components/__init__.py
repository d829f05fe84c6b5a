"""The shipped components, listed by stage and kind: an explicit table, since nothing here is discovered by walking."""

from mixline.node.components.base import (
    Component,
    Filter,
    Hydrator,
    QueryHydrator,
    Scorer,
    Selector,
    SideEffect,
    Source,
    stage_of,
)
from mixline.node.components.filters.age_filter import AgeFilter
from mixline.node.components.filters.blocked_filter import BlockedFilter
from mixline.node.components.filters.duplicate_filter import DuplicateFilter
from mixline.node.components.filters.frequency_filter import FrequencyFilter
from mixline.node.components.filters.language_filter import LanguageFilter
from mixline.node.components.filters.near_duplicate_filter import NearDuplicateFilter
from mixline.node.components.filters.predicate_filter import PredicateFilter
from mixline.node.components.filters.quiet_hours_filter import QuietHoursFilter
from mixline.node.components.filters.seen_filter import SeenFilter
from mixline.node.components.filters.served_filter import ServedFilter
from mixline.node.components.hydrators.budgets_hydrator import BudgetsHydrator
from mixline.node.components.hydrators.columns_hydrator import ColumnsHydrator
from mixline.node.components.hydrators.conditions_hydrator import ConditionsHydrator
from mixline.node.components.hydrators.counters_hydrator import CountersHydrator
from mixline.node.components.hydrators.popularity_hydrator import PopularityHydrator
from mixline.node.components.hydrators.recent_hydrator import RecentHydrator
from mixline.node.components.hydrators.similarity_hydrator import SimilarityHydrator
from mixline.node.components.hydrators.text_match_hydrator import TextMatchHydrator
from mixline.node.components.hydrators.user_hydrator import UserHydrator
from mixline.node.components.query_hydrators.detect_query_hydrator import DetectQueryHydrator
from mixline.node.components.query_hydrators.encoder_query_hydrator import EncoderQueryHydrator
from mixline.node.components.scorers.calibration_scorer import CalibrationScorer
from mixline.node.components.scorers.dot_scorer import DotScorer
from mixline.node.components.scorers.forest_scorer import ForestScorer
from mixline.node.components.scorers.fusion_scorer import FusionScorer
from mixline.node.components.scorers.mlp_scorer import MlpScorer
from mixline.node.components.scorers.onnx_scorer import OnnxScorer
from mixline.node.components.scorers.rrf_scorer import RrfScorer
from mixline.node.components.scorers.utility_scorer import UtilityScorer
from mixline.node.components.scorers.weighted_scorer import WeightedScorer
from mixline.node.components.selectors.category_cap_selector import CategoryCapSelector
from mixline.node.components.selectors.dpp_selector import DppSelector
from mixline.node.components.selectors.mmr_selector import MmrSelector
from mixline.node.components.selectors.quota_selector import QuotaSelector
from mixline.node.components.selectors.reserve_selector import ReserveSelector
from mixline.node.components.selectors.spacing_selector import SpacingSelector
from mixline.node.components.selectors.ssd_selector import SsdSelector
from mixline.node.components.selectors.take_until_pass_selector import TakeUntilPassSelector
from mixline.node.components.selectors.topk_selector import TopKSelector
from mixline.node.components.selectors.weave_selector import WeaveSelector
from mixline.node.components.side_effects.journal_side_effect import JournalSideEffect
from mixline.node.components.side_effects.kept_side_effect import KeptSideEffect
from mixline.node.components.side_effects.served_side_effect import ServedSideEffect
from mixline.node.components.sources.cached_source import CachedSource
from mixline.node.components.sources.exploration_source import ExplorationSource
from mixline.node.components.sources.following_source import FollowingSource
from mixline.node.components.sources.given_source import GivenSource
from mixline.node.components.sources.item_to_item_source import ItemToItemSource
from mixline.node.components.sources.latest_source import LatestSource
from mixline.node.components.sources.nearest_source import NearestSource
from mixline.node.components.sources.popular_for_query_source import PopularForQuerySource
from mixline.node.components.sources.popular_source import PopularSource
from mixline.node.components.sources.suggest_source import SuggestSource
from mixline.node.components.sources.text_source import TextSource
from mixline.node.components.sources.walk_source import WalkSource

__all__ = [
    "KINDS",
    "Component",
    "Filter",
    "Hydrator",
    "QueryHydrator",
    "Scorer",
    "Selector",
    "SideEffect",
    "Source",
    "stage_of",
]

KINDS: dict[str, dict[str, type[Component]]] = {
    "query_hydrator": {"detect": DetectQueryHydrator, "encoder": EncoderQueryHydrator},
    "source": {
        "nearest": NearestSource,
        "item_to_item": ItemToItemSource,
        "walk": WalkSource,
        "popular": PopularSource,
        "popular_for_query": PopularForQuerySource,
        "exploration": ExplorationSource,
        "cached": CachedSource,
        "following": FollowingSource,
        "latest": LatestSource,
        "given": GivenSource,
        "text": TextSource,
        "suggest": SuggestSource,
    },
    "hydrator": {
        "columns": ColumnsHydrator,
        "conditions": ConditionsHydrator,
        "counters": CountersHydrator,
        "budgets": BudgetsHydrator,
        "text_match": TextMatchHydrator,
        "popularity": PopularityHydrator,
        "user": UserHydrator,
        "similarity": SimilarityHydrator,
        "recent": RecentHydrator,
    },
    "filter": {
        "seen": SeenFilter,
        "blocked": BlockedFilter,
        "duplicate": DuplicateFilter,
        "predicate": PredicateFilter,
        "near_duplicate": NearDuplicateFilter,
        "language": LanguageFilter,
        "frequency": FrequencyFilter,
        "age": AgeFilter,
        "quiet_hours": QuietHoursFilter,
        "served": ServedFilter,
    },
    "scorer": {
        "dot": DotScorer,
        "weighted": WeightedScorer,
        "forest": ForestScorer,
        "utility": UtilityScorer,
        "onnx": OnnxScorer,
        "mlp": MlpScorer,
        "calibration": CalibrationScorer,
        "rrf": RrfScorer,
        "fusion": FusionScorer,
    },
    "selector": {
        "topk": TopKSelector,
        "category_cap": CategoryCapSelector,
        "mmr": MmrSelector,
        "dpp": DppSelector,
        "ssd": SsdSelector,
        "weave": WeaveSelector,
        "spacing": SpacingSelector,
        "take_until_pass": TakeUntilPassSelector,
        "quota": QuotaSelector,
        "reserve": ReserveSelector,
    },
    "side_effect": {"journal": JournalSideEffect, "served": ServedSideEffect, "kept": KeptSideEffect},
}
KINDS["source"]["item-to-item"] = ItemToItemSource
