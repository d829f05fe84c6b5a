"""The runner of ``make stress`` on tiny parts: it resumes, keeps to the time limit, and loses no test."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import parts as table
import pytest
import revision
import run as runner

ROOT = Path(__file__).resolve().parent.parent.parent

COUNT = "import os, pathlib; p = pathlib.Path(os.environ['COUNTED']); p.write_text(p.read_text() + 'x')"
FIGURES = "import os; print('noise'); print('{\"seed\": ' + os.environ['MIXLINE_SEED'] + '}')"
FORK = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
"""


def python(name, code, limit_s=60):
    return table.Part(name, (sys.executable, "-c", code), limit_s)


@pytest.fixture
def stress(tmp_path, monkeypatch):
    """Runs parts: returns the exit code. ``stress.revision`` is the code's, ``stress.runs()`` what ran COUNT."""
    (tmp_path / "counted").touch()
    monkeypatch.setenv("COUNTED", str(tmp_path / "counted"))
    monkeypatch.setattr(runner, "revision_of", lambda root: stress.revision)

    def stress(*parts, words=()):
        return runner.main([*words, "--results", str(tmp_path / "results")], parts)

    stress.revision = "abc"
    stress.runs = lambda: len((tmp_path / "counted").read_text())
    stress.result = lambda name: json.loads((tmp_path / "results" / f"{name}.json").read_text())
    return stress


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_gone(pid):
    end = time.monotonic() + 20
    while not gone(pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_passed_is_not_run_again(stress, capsys):
    part = python("count", COUNT)
    assert stress(part) == 0 and stress(part) == 0
    assert stress.runs() == 1 and "passed before" in capsys.readouterr().out
    assert stress(part, words=["--again"]) == 0 and stress.runs() == 2


def test_another_seed_or_revision_is_run(stress):
    part = python("count", COUNT)
    for words in ([], ["--seed", "7"], ["--seed", "1"], ["--seed", "7"]):
        assert stress(part, words=words) == 0
    assert stress.runs() == 2 and stress.result("count")["seeds_passed"] == [1, 7]
    stress.revision = "abc+changed"
    assert stress(part) == 0
    assert stress.runs() == 3 and stress.result("count")["seeds_passed"] == [1]


def test_a_pass_counts_for_no_code_that_changed_meanwhile(stress, monkeypatch, capsys):
    revisions = iter(["a", "a", "b", "b", "b", "b"])
    monkeypatch.setattr(runner, "revision_of", lambda root: next(revisions))
    part = python("count", COUNT)
    assert stress(part) == 0 and "code changed" in capsys.readouterr().out
    assert stress.result("count")["seeds_passed"] == []
    assert stress(part) == 0 and stress.runs() == 2


def test_figures_and_seed(stress):
    part = table.Part("figures", (sys.executable, "-c", "import sys; assert sys.argv[1] == '9'; " + FIGURES, "{seed}"))
    assert stress(part, words=["--seed", "9"]) == 0
    result = stress.result("figures")
    assert result["figures"] == {"seed": 9} and result["seed"] == 9 and result["revision"] == "abc"
    assert result["exit_code"] == 0 and result["seconds"] >= 0 and "tail" not in result


def test_a_failure_is_told_kept_and_run_again(stress, capsys):
    bad, good = python("bad", f"{COUNT}\nprint('why it failed'); raise SystemExit(3)"), python("good", "")
    assert stress(bad, good) == 1
    out = capsys.readouterr().out
    assert "FAILED (3)" in out and "why it failed" in out and "passed" in out
    assert stress.result("bad")["exit_code"] == 3 and "why it failed" in stress.result("bad")["tail"]
    assert stress.result("good")["exit_code"] == 0, "a failure does not stop the others"
    assert stress(bad, good) == 1 and stress.runs() == 2


def test_the_time_limit_kills_the_whole_group(stress, capsys):
    assert stress(python("slow", FORK + "time.sleep(600)", limit_s=1)) == 1
    result = stress.result("slow")
    assert result["timed_out"] and result["exit_code"] == runner.TIMED_OUT
    wait_gone(int(result["tail"].split()[0]))
    assert "over 1 s" in capsys.readouterr().out


def test_one_that_ignores_sigterm_is_killed(stress, monkeypatch):
    monkeypatch.setattr(runner, "GRACE_S", 0.1)
    code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid(), flush=True)"
    assert stress(python("deaf", f"{code}; time.sleep(600)", limit_s=2)) == 1
    wait_gone(int(stress.result("deaf")["tail"]))


def test_what_a_part_leaves_behind_is_killed(stress, tmp_path):
    assert stress(python("litter", FORK)) == 0
    wait_gone(int((tmp_path / "results" / "litter.log").read_text()))


def test_an_interrupted_runner_takes_its_part_along(tmp_path):
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "tests" / "stress")!r})
import run, parts, signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
part = parts.Part("slow", (sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"))
run.main(["--results", {str(tmp_path)!r}], [part])
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    log, end = tmp_path / "slow.log", time.monotonic() + 30
    while not (log.exists() and log.read_text().strip()):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.terminate()
    assert process.wait(20) == 143
    wait_gone(int(log.read_text()))
    assert not (tmp_path / "slow.json").exists()


def test_list_and_unknown_names(stress, capsys):
    parts = python("count", COUNT), python("other", "")
    assert stress(parts[0]) == 0
    assert stress(*parts, words=["--list"]) == 0 and stress.runs() == 1
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[-2:]}
    assert "passed" in rows["count"] and "to do" in rows["other"]
    assert stress(*parts, words=["--part", "nowhere"]) == 64
    assert stress(*parts, words=["--part", "other"]) == 0 and stress.runs() == 1


def test_a_damaged_result_counts_as_none(stress, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "count.json").write_text('{"part": ')
    assert stress(python("count", COUNT)) == 0 and stress.runs() == 1


@pytest.mark.parametrize(
    ("text", "figures"), [("", None), ("3\n", None), ("x\n{", None), ('a\n{"b": 2}\n', {"b": 2}), ("[1]", None)]
)
def test_figures_are_the_last_line(text, figures):
    assert runner.figures_of(text) == figures


def test_the_revision_follows_the_sources(tmp_path):
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "a.py").write_text("a = 1\n")
    first = revision.revision_of(tmp_path)
    assert first.startswith("sources-") and revision.revision_of(tmp_path) == first
    (tmp_path / "node" / "a.py").write_text("a = 2\n")
    assert revision.revision_of(tmp_path) != first
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "First", "--no-verify"]):
        subprocess.run([*git, *words], check=True)
    clean = revision.revision_of(tmp_path)
    assert len(clean) == 12
    (tmp_path / "node" / "new.py").write_text("b = 1\n")
    fresh = revision.revision_of(tmp_path)
    assert fresh.startswith(f"{clean}+")
    (tmp_path / "node" / "new.py").write_text("b = 2\n")
    assert revision.revision_of(tmp_path) not in (fresh, clean)


def test_the_table_is_sound():
    names = [part.name for part in table.PARTS]
    assert len(set(names)) == len(names) and all(0 < part.limit_s <= table.LIMIT_S_MAX for part in table.PARTS)
    for part in table.PARTS:
        for word in part.command:
            path = word.partition("::")[0]
            assert not path.startswith("tests/") or (ROOT / path).exists(), part


def test_every_stress_test_is_in_a_part():
    marked = [path for path in (ROOT / "tests").rglob("*.py") if "mark.stress" in path.read_text()]
    assert all(path.name.startswith("test_") for path in marked), "a file could get the mark without saying so"
    command = [sys.executable, "-m", "pytest", "-m", "stress", "--collect-only", "-q", "-p", "no:cacheprovider"]
    environ = {**os.environ, "PYTEST_ADDOPTS": ""}
    done = subprocess.run([*command, *marked], cwd=ROOT, capture_output=True, text=True, env=environ)
    found = [line for line in done.stdout.splitlines() if line.startswith("tests/")]
    assert found, done.stdout + done.stderr
    chosen = [word for part in table.PARTS for word in part.command if word.startswith("tests/")]
    for test in found:
        times = sum(test == word or test.startswith((f"{word}::", f"{word}[", f"{word}/")) for word in chosen)
        assert times == 1, f"{test}: in {times} parts of tests/stress/parts.py"
