"""A small store of titled films to search, built by the real builder."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from mixline.tools.build import build

TITLES = (
    "Space Opera",
    "The Opera House",
    "A Night at the Opera",
    "Deep Space Nine",
    "Lost in Space",
    "2001: A Space Odyssey",
    "Amélie",
    "Alien",
    "Aliens",
    "The Alien Space",
    "Das Boot",
    "Space Space Space",
    "Opera of the Deep Space",
    "Interstellar",
    "The Terminator",
    "Terminal",
    "Star Wars",
    "Star Trek",
    "Stardust",
    "Dune",
)
SPEC = """
[items]
path = "films.jsonl"
id = "id"
columns = {{ title = "text", plot = "text", year = "f32", genres = "tags", studio = "category" }}
[events]
path = "events.csv"
user = "user"
item = "item"
{text}
"""


def films() -> list[dict]:
    """Twenty films; every third has a plot."""
    return [
        {
            "id": 100 + at,
            "title": title,
            "plot": f"A story of {TITLES[-at - 1].lower()} and of space" if at % 3 == 0 else None,
            "year": 1950.0 + 3 * at,
            "genres": [g for g, every in (("Drama", 2), ("Comedy", 3)) if at % every == 0],
            "studio": ("north", "south")[at % 2],
        }
        for at, title in enumerate(TITLES)
    ]


def build_titles(folder: Path, text: str = "", more: list[dict] | None = None) -> Path:
    """The store; ``text`` is the spec's part on text."""
    folder.mkdir(parents=True, exist_ok=True)
    some = films() + (more or [])
    (folder / "films.jsonl").write_text("".join(json.dumps(film) + "\n" for film in some))
    events = "".join(f"{user},{100 + at}\n" for at in range(20) for user in range(1 + at % 7))
    (folder / "events.csv").write_text("user,item\n" + events)
    (folder / "spec.toml").write_text(SPEC.format(text=text))
    done = CliRunner().invoke(build, [str(folder / "spec.toml"), "--out", str(folder / "store"), "--quiet"])
    assert done.exit_code == 0, done.output or done.exception
    return folder / "store"
