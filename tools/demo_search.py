"""The demo's search: its surface file, past queries, and the ranker in it.

MovieLens knows no searches, so they are made up: as if everybody had typed a word of the title of each film that he
rated. What users rated last is held back, as for the feed; the ranker learns to put first what was rated then.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np

from mixline.node.inprocess import Node
from mixline.storage.completions import plain_words
from mixline.storage.store import Store
from mixline.tools.ranker import learn, rows_of

LETTERS_MIN = 4  # of a word that somebody would type
SEED, EACH = 3, 3  # searches of a user that are learnt from
CANDIDATES = """
[[query_hydrator]]
kind = "detect"
labels = { genre = "genres" }
years = "year"
stem = "english"
[[source]]
name = "text"
kind = "text"
limit = 200
highlight = ["title"]
facets = { genres = { limit = 4 }, year = { ranges = [1980, 1990, 2000] } }
[[source]]
name = "chosen"
kind = "popular_for_query"
limit = 50
[[hydrator]]
kind = "text_match"
name = "match"
fields = ["title"]
[[hydrator]]
kind = "popularity"
name = "known"
[[hydrator]]
kind = "columns"
columns = ["year"]
[[hydrator]]
kind = "conditions"
[hydrator.columns]
era = "year >= params.year_from and year <= params.year_to"
kin = "params.genre in genres"
[[scorer]]
name = "liking"
kind = "dot"
"""
NAMES = ("text.score", "match.title", "chosen.score", "known", "year", "liking")
PLAIN = f"""
name = "searched"
limit = 200
{CANDIDATES}
[[selector]]
kind = "topk"
by = "text.score"
"""
SEARCH = f"""# Titles, and what those chose who asked the same, by a learnt model; a query's years and genres count too.
name = "search"
deadline_ms = 100
limit = 10
{CANDIDATES}
[[scorer]]
name = "rank"
kind = "forest"
model = "search.txt"
output = "raw"
[[scorer]]
name = "final"
kind = "weighted"
terms = {{ rank = 1.0, era = 2.0, kin = 2.0 }}
[[selector]]
kind = "topk"
by = "final"
limit = 200
[[selector]]
kind = "ssd"
by = "final"
pool = 50
gamma = 0.02
"""


def words_of_titles(folder: Path) -> dict[int, list[str]]:
    """By film the words that somebody might type."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "items.parquet")
    titles = zip(table["movie"].to_pylist(), table["title"].to_pylist(), strict=True)
    return {film: [word for word in plain_words(title or "") if len(word) >= LETTERS_MIN] for film, title in titles}


def write_past_queries(folder: Path, events: str) -> None:
    """The queries made up for some events, beside their file."""
    import pyarrow.parquet as pq

    words, rng = words_of_titles(folder), np.random.default_rng(SEED)
    films = pq.read_table(folder / events)["movie"].to_pylist()
    drawn = rng.integers(0, 1 << 30, len(films)).tolist()
    typed = Counter(
        (some[at % len(some)], film) for film, at in zip(films, drawn, strict=True) if (some := words.get(film))
    )
    with open(folder / f"{events}.queries.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["query", "movie", "count"])
        rows.writerows([query, film, count] for (query, film), count in sorted(typed.items()))


def learn_search(folder: Path, store: Path, held: dict[int, list[int]]) -> dict[str, float]:
    """Learn from a store of the earlier events; leaves the surface and its model in ``folder``. Returns how much each
    feature was worth."""
    surfaces, words, rng = folder / "surfaces", words_of_titles(folder), np.random.default_rng(SEED + 1)
    searches = [
        (user, film, words[film][int(rng.integers(len(words[film])))])
        for user, films in held.items()
        for film in rng.permutation(films)[:EACH].tolist()
        if words.get(film)
    ]
    users, films, queries = (list(some) for some in zip(*searches, strict=True))
    with Store(store).open() as epoch:
        chosen = list(epoch.items.rows_of(films)[:, None])
    (surfaces / "searched.toml").write_text(PLAIN)
    with Node.open(store, folder / "NODE.toml") as node:
        rows = rows_of(node, "searched", users, chosen, NAMES, requests=[{"query": query} for query in queries])
    (surfaces / "searched.toml").unlink()
    worth = learn(rows, NAMES, surfaces / "search.txt")
    (surfaces / "search.toml").write_text(SEARCH)
    return worth
