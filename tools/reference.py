"""Write docs/surfaces.md from the components' own docstrings: ``python -m mixline.tools.reference [FILE]``."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import msgspec

from mixline.node.components import KINDS, Component, Scorer
from mixline.node.components.hydrators.budgets_hydrator import Budget
from mixline.node.components.hydrators.recent_hydrator import Aggregate
from mixline.node.components.scorers.utility_scorer import Objective
from mixline.node.components.selectors.weave_selector import Dynamic
from mixline.node.config import SurfaceKeys
from mixline.node.session import Recent
from mixline.node.windows import Counter

HEAD = """# Surfaces

<!-- Made by `python -m mixline.tools.reference docs/surfaces.md` from the components' docstrings; do not edit. -->

A surface is one TOML file: a few keys, then lists of components. A request runs them in this order: query hydrators,
sources, hydrators, filters, scorers, selectors, side effects. Files in the folder that `NODE.toml` names under
`surfaces` add to the shipped surfaces (`homefeed`, `related`, `search`, `suggest`, `rank`, `notifications`) and
override them by name. `mixline check NODE.toml --store STORE` says everything that is wrong with them at once;
`mixline plan SURFACE --store STORE` shows in which order and by which way components run, with `--analyze` rows, time
and bytes of each; `mixline ask SURFACE --explain` what became of items. After `"skip"` and `"default"` below the
reply is DEGRADED.

A query hydrator looks at the request before anything is retrieved, and gives it another text, a vector, values of
parameters; what the request itself says of a parameter stays. Where the surface declares `[params]`, it may set only
what these allow, and `"$NAME"` in components stands for what it set.

Candidates live in one block of columns. A source's score is the column `<name>.score`, missing where that source did
not bring the candidate; a scorer's column has the scorer's name; item columns of the store have their own names and are
gathered when somebody reads them. A dropped candidate stays in the block with the reason.

What `seen` and `predicate` can tell from the id, the user or stored columns is told to the sources, which leave it out
before they count to their limit: such items were never candidates, and have no reason. The coverage of a filter says
"inside the sources" then; the filter itself still runs. The coverage of a `nearest` says which way it took (`how`).

Filters that decide of each candidate by itself (all but `duplicate` and `near_duplicate`, and of your own those that
say `commutes: ClassVar[bool] = True`) and stand beside one another are asked in the order of what they cost for what
they drop, and dear ones about those alone that are left. A worker measures that, and chooses the order after 32
requests, 128, 512, and so on. The page does not depend on it; of several filters that would drop a candidate the first
that was asked is named. `mixline plan --analyze` shows the order and the measures.

`client.why_not(SURFACE, ITEM, user=...)`, `ask(..., why=[ITEM])` and `mixline why` tell what became of an item. `fate`:
`served` (at which `place`), `reserve` (at which place behind the page), `dropped`, or `left_out` inside the sources
(`by` which filters), `not_retrieved`, `deleted` or `unknown`. For each source: whether it `brought` the item, its
`score` there, and the source's `cutoff`. Of a candidate its columns and score terms too.

A source that fails, or that the deadline leaves with nothing, is missing from the page, which is DEGRADED; those that
have nothing to search in this store do not count. Where fewer than `min_coverage` of them answered the request fails
as soon as that is known, with TIMEOUT if time alone was short, else INTERNAL; for one source that a page cannot do
without there is `on_error = "fail"`. `page.answered` is the share.

The page's scores come from the column that the last selector with `by` orders by. Order is score descending, then order
key ascending (the id; for string ids its XXH3-64 hash); scores that are not finite come last.

## Keys of the surface

| key | default | |
|---|---|---|
| `name` | required | how requests name it, at most 32 ASCII characters |
| `description` | `""` | for people |
| `deadline_ms` | `100.0` | for requests that bring no deadline of their own |
| `limit` | `25` | items on a page, for requests that bring no limit |
| `unknown_user` | `"cold"` | `"cold"`: go on without the user; `"error"`: NOT_FOUND |
| `min_coverage` | `0.0` | the share of its sources without which there is no page: TIMEOUT or INTERNAL, and which |
| `paging` | `false` | pages have a `cursor`, with which the next one repeats nothing |
| `params` | none | `[params.NAME]`: what `"$NAME"` in a component stands for ([experiments.md](experiments.md)) |
| `experiment` | none | `[[experiment]]`: which users get which values |
| `holdout` | none | `[holdout]`: users that are in no experiment |

## Keys of every component

| key | default | |
|---|---|---|
| `kind` | required | one of the kinds below, or the dotted path of your own class |
| `name` | its kind | how coverage, columns and explanations call it |
| `on_error` | `"skip"` | `"skip"`: go on without it; `"default"`: its columns read as 0; `"fail"`: INTERNAL |
| `share` | `1.0` | the part of the remaining time it may take |
| `blocking` | `false` | of your own components: it waits for something outside, and runs in a thread |

Each component's time ends where what those behind it usually take begins, as measured by the worker; where that and its
own is more than there is, each gets its part. What looks at its time (`call.stopped()`) ends with what it has by then.
Within a stage the order of the file holds, but that who reads a column runs behind whoever writes it, wherever these
stand. Hydrators and scorers whose columns nobody reads are not run: the coverage and `mixline plan` say so. A journal
of all columns, an explanation, and your own components that name no `reads` count as readers.

A scorer takes `best = { count = 500, by = "first" }` too: it scores the best so many of each user by an earlier column
alone, so that a model that costs much costs no more than that; all others have no score from it, and come last.
"""
TAIL = """
## Your own component

A subclass of `QueryHydrator`, `Source`, `Hydrator`, `Filter`, `Scorer` or `Selector` (from `mixline.node.components`),
importable by the workers, named by its dotted path. Its fields are its keys in the file.

```python
import numpy as np
from mixline.node.components import Filter

class PriceBelow(Filter, frozen=True, kw_only=True):
    \"\"\"Drops items dearer than `most`.\"\"\"

    most: float

    def drops(self, call):
        return call.column("price") > self.most      # one boolean per candidate
```

```toml
[[filter]]
kind = "shop.filters.PriceBelow"
most = 30.0
```

```python
from mixline.node.components import QueryHydrator

class Nicknames(QueryHydrator, frozen=True, kw_only=True):
    \"\"\"Puts what is meant in the place of a nickname.\"\"\"

    names: dict[str, str]

    def hydrate_query(self, call):
        words = (call.ask.query or "").split()
        call.enrich(query=" ".join(self.names.get(word, word) for word in words))   # also vector=, params=
```

### Components that wait

What waits for a service, a disk or a lock says `blocking = true` in the file (or `blocking: bool = True` in the class),
or has its method as a coroutine (`async def retrieve`, `hydrate`, `drops`, `score`, `hydrate_query`). It runs in a
thread of its own, a coroutine on the one event loop of the worker. Of one stage all that wait begin at once, but for
those that read what others write, and run beside those that do not wait; filters that wait begin when the others have
dropped what they drop. So sources that take 30 ms each take 30 ms together.

It sees a request of its own: columns of others cannot be written to, and what it makes is taken over when it has come
back in time. It may take seven eighths of the time that is left, for there must be some for a page without it. Else it
has failed (`on_error`), with the reason `deadline: not back after .. ms`; a coroutine is cancelled, and a thread left
to itself, since no thread can be ended. Of one component 4 such runs may be out: until one of them is back it fails at
once. They are counted as `mixline_worker_given_up_total`. The worker answers nobody else while it waits, so give a node
that waits more `workers` than cores. Selectors and side effects may not wait.

A component that stands still without saying so holds its worker: the request is answered TIMEOUT at its deadline, the
worker replaced within seconds, and what else it had is answered by others.

`call` offers `ask` (the request, as query hydrators have understood it; `asked` as it came), `epoch` (the store),
`block` (the columns), `column(name)`, `users` (a row per group), `seen(group)`, `recent(group, count)`,
`allowed(group)` (a bitmap of what filters let a source bring, None for all) and `stopped()` (look at it in long
loops). What a component returns is checked for length; what it raises is recorded in the coverage. What no request
changes can be made once, when the surface is loaded: whatever the method `bind(epoch)` returns is `call.bound` while
the component runs. A filter may also define `excludes(call, group)`, the items that it drops for this user (rows, a
bitmap, or a list of these), and `admits(call, bound)`, a bitmap of the items that it keeps; sources obey both.
"""


TABLES = {
    "list[str]": "list of text",
    "tuple[str, ...]": "list of text",
    "tuple[str, ...] | None": "list of text",
    "dict[str, float]": "table of numbers",
    "dict[str, str]": "table of text",
    "dict[str, tuple[str, str]]": "table of two texts",
    "list[tuple[float, float]]": "list of two numbers",
    "tuple[typing.Literal['candidates', 'items'], ...]": "list of text",
}


def section(kind: str, component: type[Component]) -> str:
    """One component: its docstring, and its keys with types and defaults."""
    common = {field.name for base in (Component, Scorer) for field in msgspec.structs.fields(base)}
    rows = [f for f in msgspec.structs.fields(component) if f.name not in common]
    keys = "".join(f"| `{field.name}` | {shown_type(field.type)} | {default_of(field)} |\n" for field in rows)
    table = f"\n| key | type | default |\n|---|---|---|\n{keys}" if keys else ""
    return f"\n### `{kind}`\n\n{inspect.cleandoc(component.__doc__ or '')}\n{table}"


def shown_type(annotation: Any) -> str:
    """A type as a reader of TOML knows it."""
    values = getattr(annotation, "__args__", None)
    if values and all(isinstance(value, str) for value in values):
        return " or ".join(f'`"{value}"`' for value in values)
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    if annotation is Recent:
        return "table"
    if annotation in (dict[str, Counter], dict[str, Budget], dict[str, Aggregate], dict[str, Objective]):
        return "table of tables"
    if annotation == list[Dynamic]:
        return "list of tables"
    return TABLES.get(str(annotation), str(annotation))


def default_of(field: Any) -> str:
    """A default as TOML writes it."""
    if field.required:
        return "required"
    default = {} if field.default is msgspec.NODEFAULT else field.default
    return f"`{msgspec.json.encode(default).decode()}`"


def reference() -> str:
    """The whole page."""
    assert {field.name for field in msgspec.structs.fields(SurfaceKeys)} <= set(HEAD.replace("`", " ").split())
    parts = [HEAD]
    for stage, kinds in KINDS.items():
        shown: set[type[Component]] = set()
        if kinds:
            parts.append(f"\n## `[[{stage}]]`\n")
        for kind, component in kinds.items():
            if component not in shown:  # a second spelling of the same kind
                parts.append(section(kind, component))
                shown.add(component)
    return "".join([*parts, TAIL])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(reference())
    else:
        sys.stdout.write(reference())
