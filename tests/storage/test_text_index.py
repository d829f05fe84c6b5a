"""Analysis, dictionaries, and that an index depends on its texts alone."""

import hashlib

import numpy as np
import pytest
from build_case import build, write_films
from hypothesis import given
from hypothesis import strategies as st

from mixline.storage.analysis import Analyser, AnalyserFacts
from mixline.storage.dictionary import Dictionary, write_dictionary
from mixline.storage.epoch import Epoch
from mixline.storage.errors import BadSpec
from mixline.storage.progress import Silence
from mixline.storage.spec import read_spec
from mixline.storage.text_builder import TextBuilder
from mixline.storage.text_spec import TextFieldSpec, TextSpec
from mixline.storage.words import word_spans, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The quick (“brown”) fox can’t jump 32.3 feet, right?", "The quick brown fox can’t jump 32.3 feet right"),
        ("a_b _ x.y U.S.A. 3,000 e-mail", "a_b x.y U.S.A 3,000 e mail"),
        ("日本 カタカナ ひら", "日 本 カタカナ ひ ら"),
        ("e\u0301te\u0301 na\u00efve", "e\u0301te\u0301 na\u00efve"),
        ("\u05d0\u05f4\u05d1 مرحبا", "\u05d0\u05f4\u05d1 مرحبا"),
        ("\0 \u200d ... ''", ""),
    ],
)
def test_words_by_uax_29(text, words):
    assert words_of(text) == words.split()


@given(st.text())
def test_words_lie_in_the_text_in_order(text):
    spans = word_spans(text)
    ends = spans.ravel()
    assert (np.diff(ends) >= 0).all() and (spans[:, 0] < spans[:, 1]).all()
    assert all(any(one.isalnum() or one.isalpha() for one in word) or word for word in words_of(text))


@pytest.mark.parametrize(
    ("facts", "word", "term"),
    [
        (AnalyserFacts(), "Amélie", "amelie"),
        (AnalyserFacts(fold=False), "Amélie", "amélie"),
        (AnalyserFacts(), "STRASSE", "strasse"),
        (AnalyserFacts(), "Straße", "strasse"),
        (AnalyserFacts(), "ﬁlm", "film"),
        (AnalyserFacts(), "йод", "йод"),
        (AnalyserFacts(stop=("the",)), "The", None),
        (AnalyserFacts(stem="english"), "dogs'", "dog"),
        (AnalyserFacts(stem="english"), "Dog’s", "dog"),
        (AnalyserFacts(stem="english"), "clichés", "clich"),
        (AnalyserFacts(stem="french"), "créées", "cre"),
        (AnalyserFacts(stem="german"), "Häuser", "haus"),
        (AnalyserFacts(stem="spanish"), "canciones", "cancion"),
        (AnalyserFacts(stem="italian"), "amiche", "amic"),
        (AnalyserFacts(stem="portuguese"), "canções", "canco"),
        (AnalyserFacts(stem="dutch"), "huizen", "huis"),
        (AnalyserFacts(stem="russian"), "книги", "книг"),
    ],
)
def test_terms(facts, word, term):
    pytest.importorskip("Stemmer")
    assert Analyser(facts).term(word) == term


def test_beginnings_are_found_too():
    assert Analyser(AnalyserFacts(grams=(2, 4))).expand("Space") == ("space", "sp", "spa", "spac")


def test_a_missing_stemmer_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadSpec, match=r"mixline\[text\]"):
        Analyser(AnalyserFacts(stem="english"))


@given(st.sets(st.text(min_size=1, max_size=12), max_size=120), st.text(max_size=3))
def test_dictionary(words, prefix):
    raw = sorted(word.encode("utf-8", "surrogatepass") for word in words if word.isprintable())
    counts = np.arange(1, len(raw) + 1, dtype=np.uint32)
    sizes = np.full(len(raw), 7, dtype=np.uint64)
    found = Dictionary(*write_dictionary(raw, counts, sizes, sizes), len(raw))
    assert [one[0] for one in found.words()] == raw
    assert all(found.find(word) == (at + 1, 7 * at, 7, 7 * at) for at, word in enumerate(raw))
    begins = prefix.encode("utf-8", "surrogatepass")
    assert found.find(begins + b"\xff") is None
    wanted = sorted(((one, at + 1) for at, one in enumerate(raw) if one.startswith(begins)), key=lambda one: -one[1])
    assert [one[:2] for one in found.beginning(begins, 5, 1000)] == wanted[:5]


def test_the_commonest_of_many_that_begin_so():
    rng = np.random.default_rng(5)
    raw = sorted({f"ab{one}".encode() for one in rng.integers(0, 10**6, 4000).tolist()})
    counts = rng.permutation(len(raw)).astype(np.uint32) + 1
    sizes = np.full(len(raw), 7, dtype=np.uint64)
    found = Dictionary(*write_dictionary(raw, counts, sizes, sizes), len(raw))
    for prefix in (b"a", b"ab", b"ab1", b"ab23", b"ab999999"):
        wanted = sorted(((-int(n), one) for one, n in zip(raw, counts, strict=True) if one.startswith(prefix)))
        for most in (1, 2, 16):
            got = found.beginning(prefix, most, 1 << 20)
            assert [(-one[1], one[0]) for one in got] == wanted[:most]


def distance(a, b):
    """Optimal string alignment, from its definition."""
    rows = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            best = min(rows[i - 1, j] + 1, rows[i, j - 1] + 1, rows[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                best = min(best, rows[i - 2, j - 2] + 1)
            rows[i, j] = best
    return rows[len(a), len(b)]


@given(st.sets(st.text("abcé", min_size=1, max_size=6), max_size=80), st.text("abcé", min_size=1, max_size=6))
def test_words_that_are_spelt_alike(words, asked):
    raw = sorted(word.encode() for word in words)
    none = np.zeros(len(raw), dtype=np.uint64)
    found = Dictionary(*write_dictionary(raw, np.ones(len(raw), dtype=np.uint32), none, none), len(raw))
    for slips in (1, 2):
        for same in (0, 1):
            near = {(d, w.decode()) for d, w, _ in found.near(asked, slips, same, 1000, 1000)}
            assert near == {
                (distance(asked, w), w) for w in words if distance(asked, w) <= slips and w[:same] == asked[:same]
            }


def test_files_do_not_depend_on_runs(tmp_path):
    rng = np.random.default_rng(5)
    texts = [" ".join(f"w{at}" for at in rng.integers(0, 300, rng.integers(0, 20))) or None for _ in range(3000)]
    digests = []
    for run_bytes in (1 << 12, 1 << 15, 1 << 30):
        folder = tmp_path / str(run_bytes)
        spec = TextSpec({"a": TextFieldSpec(), "b": TextFieldSpec(positions=False, weight=2.0)}, spelling=True)
        builder = TextBuilder(folder / "epoch", folder / "scratch", spec, run_bytes)
        for start in range(0, 3000, 100):
            some = texts[start : start + 100]
            builder.add({"a": some, "b": some[::-1]}, 100)
        builder.close(Silence())
        files = sorted((folder / "epoch" / "text").iterdir())
        digests.append([(one.name, hashlib.sha256(one.read_bytes()).hexdigest()) for one in files])
    assert digests[0] == digests[1] == digests[2]


def test_an_epoch_says_how_its_texts_are_found(tmp_path):
    spec = write_films(tmp_path, ".jsonl")
    with spec.open("a") as file:
        file.write('[text]\nstop = "english"\ngrams = [2, 5]\nk1 = 1.2\n[text.fields.title]\nweight = 2\n')
    build(spec, tmp_path / "store")
    with Epoch(tmp_path / "store" / "epochs" / "000001") as epoch:
        assert epoch.text is not None and epoch.text.names == ["title"]
        facts = epoch.manifest.text
        assert (facts.k1, facts.b, facts.fields["title"].weight, facts.suggest) == (1.2, 0.4, 2.0, "title")
        assert epoch.text.terms.find(b"rashomon")[0] == 1 and epoch.text.terms.find(b"ras")[0] == 1


def test_faults_of_the_specification(tmp_path):
    spec = write_films(tmp_path, ".jsonl")
    with spec.open("a") as file:
        file.write(
            '[text]\nstem = "klingon"\nb = 2\nsuggestt = "title"\ngrams = [5, 2]\nstop = "elvish"\n'
            "[text.fields.titel]\nweight = 2\n"
        )
    with pytest.raises(BadSpec) as caught:
        read_spec(spec)
    for part in ("text.stem", "text.b", "text.suggestt", "text.grams", "text.stop", "text.fields.titel", "suggest"):
        assert part in str(caught.value)
