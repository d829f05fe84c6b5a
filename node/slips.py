"""How likely somebody who means one word types another: what is weighed against how common the word is.

After Damerau (1964) nearly all misspelt words have one slip; the same letter twice, two letters changed over and a
neighbour on the keyboard are its likeliest kinds (Kernighan, Church and Gale 1990 weigh them so). Costs are negative
logarithms, give or take what is common to all.
"""

from __future__ import annotations

KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
DOUBLED, CHANGED_OVER, LEFT_OUT, BESIDE, OTHER = 0.0, 0.5, 1.0, 1.0, 4.5
AGAIN = 5.5  # for each slip behind the first


def neighbours() -> frozenset[str]:
    """Pairs of letters that lie side by side."""
    found = set()
    for at, row in enumerate(KEYS):
        for place, letter in enumerate(row):
            near = row[max(0, place - 1) : place + 2]
            if at + 1 < len(KEYS):
                near += KEYS[at + 1][max(0, place - 1) : place + 1]
            found |= {letter + other for other in near} | {other + letter for other in near}
    return frozenset(found)


NEIGHBOURS = neighbours()


def slip_cost(typed: str, meant: str, distance: int) -> float:
    """Of typing one word for another that lies so many slips away."""
    if distance != 1:
        return OTHER / 2 + AGAIN * (distance - 1)
    at = 0
    while at < min(len(typed), len(meant)) and typed[at] == meant[at]:
        at += 1
    if len(typed) == len(meant):
        if typed[at + 1 : at + 2] == meant[at : at + 1] and typed[at : at + 1] == meant[at + 1 : at + 2]:
            return CHANGED_OVER
        return BESIDE if typed[at] + meant[at] in NEIGHBOURS else OTHER
    longer = typed if len(typed) > len(meant) else meant
    letter = longer[at]  # the last of a run, where it is one
    if longer[at - 1 : at] == letter:
        return DOUBLED
    if longer is meant:
        return LEFT_OUT
    return (
        BESIDE
        if letter + longer[at - 1 : at] in NEIGHBOURS or letter + longer[at + 1 : at + 2] in NEIGHBOURS
        else OTHER
    )
