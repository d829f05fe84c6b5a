"""``make stress``: run the parts that have not passed yet for this revision and seed, and keep what each showed.

A part runs in a session of its own, so that at its end, or at its time limit, everything that it started is killed.
Results are written by rename after each part: whatever interrupts the run, the next one goes on where it stopped.
"""

import argparse
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from parts import LIMIT_S_MAX, PARTS
from revision import revision_of

ROOT = Path(__file__).resolve().parent.parent.parent
SEED = 1
GRACE_S = 5  # between SIGTERM and SIGKILL
TAIL_LINES, TAIL_CHARACTERS = 60, 8000
TIMED_OUT = 124  # the exit code that timeout(1) gives


def end_group(process, pidfd, grace_s):
    """Kill a part's process group. Its leader is reaped last, so the group's number cannot be somebody else's."""
    if grace_s:
        os.killpg(process.pid, signal.SIGTERM)
        select.select([pidfd], [], [], grace_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def execute(command, limit_s, log, environ):
    """Run a command with its output in a file; returns its exit code, or ``TIMED_OUT``."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    pidfd = os.pidfd_open(process.pid)
    ended = []
    try:
        ended = select.select([pidfd], [], [], limit_s)[0]
    finally:
        end_group(process, pidfd, 0 if ended else GRACE_S)
        os.close(pidfd)
    return process.returncode if ended else TIMED_OUT


def figures_of(text):
    """The last line if it is a JSON object, else None."""
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def read_result(folder, name):
    """What was kept of a part; empty when nothing, or nothing legible."""
    try:
        return json.loads((folder / f"{name}.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}


def passed(result, revision, seed):
    return result.get("revision") == revision and seed in result.get("seeds_passed", [])


def run_part(part, seed, revision, folder):
    """Run one part and keep its result."""
    environ = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    environ["MIXLINE_SEED"] = str(seed)
    log = folder / f"{part.name}.log"
    before = read_result(folder, part.name)
    started = time.monotonic()
    code = execute([word.replace("{seed}", str(seed)) for word in part.command], part.limit_s, log, environ)
    text = log.read_text(errors="replace")
    seeds = set(before.get("seeds_passed", [])) if before.get("revision") == revision else set()
    moved = revision_of(ROOT) != revision
    seeds = seeds | {seed} if code == 0 and not moved else seeds - {seed}
    result = {
        "part": part.name,
        "revision": revision,
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "limit_s": part.limit_s,
        "exit_code": code,
        "timed_out": code == TIMED_OUT,
        "code_changed": moved,
        "figures": figures_of(text),
        "seeds_passed": sorted(seeds),
    }
    if code:
        result["tail"] = "\n".join(text.splitlines()[-TAIL_LINES:])[-TAIL_CHARACTERS:]
    fresh = folder / f".{part.name}.json.new"
    fresh.write_text(json.dumps(result, indent=1) + "\n")
    fresh.rename(folder / f"{part.name}.json")
    return result


def told(result):
    if result.get("timed_out"):
        return f"over {result['limit_s']} s"
    if result["exit_code"]:
        return f"FAILED ({result['exit_code']})"
    return "passed, but the code changed meanwhile: to be run again" if result["code_changed"] else "passed"


def show(rows):
    """Columns as wide as their widest cell."""
    widths = [max(len(str(row[at])) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def list_parts(parts, revision, seed, folder):
    rows = [("part", "limit", "state", "command")]
    for part in parts:
        state = "passed" if passed(read_result(folder, part.name), revision, seed) else "to do"
        command = " ".join(part.command).replace(sys.executable, "python")
        rows.append((part.name, f"{part.limit_s} s", state, command))
    show(rows)


def arguments_of(words):
    parser = argparse.ArgumentParser(prog="make stress", description=__doc__.split("\n")[0])
    parser.add_argument("--part", action="append", default=[], help="only this part; may be repeated")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--again", action="store_true", help="also run what has passed")
    parser.add_argument("--list", action="store_true", help="show the parts and their state, run nothing")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "stress", help="folder of the results")
    return parser.parse_args(words)


def main(words=None, parts=PARTS):
    """Exit code: 1 when a part failed, 64 for a part that does not exist."""
    chosen = arguments_of(words)
    names = [part.name for part in parts]
    unknown = [name for name in chosen.part if name not in names]
    if unknown:
        print(f"no part {', '.join(unknown)}; there are: {', '.join(names)}", file=sys.stderr)
        return 64
    parts = [part for part in parts if not chosen.part or part.name in chosen.part]
    assert all(part.limit_s <= LIMIT_S_MAX for part in parts)
    chosen.results.mkdir(parents=True, exist_ok=True)
    revision = revision_of(ROOT)
    if chosen.list:
        list_parts(parts, revision, chosen.seed, chosen.results)
        return 0
    rows, failed = [("part", "seed", "seconds", "result")], False
    for part in parts:
        revision = revision_of(ROOT)
        result = read_result(chosen.results, part.name)
        if passed(result, revision, chosen.seed) and not chosen.again:
            rows.append((part.name, chosen.seed, "", "passed before"))
            continue
        print(f"{part.name} (seed {chosen.seed}, at most {part.limit_s} s) ...", flush=True)
        result = run_part(part, chosen.seed, revision, chosen.results)
        if result["exit_code"]:
            failed = True
            print(result["tail"], flush=True)
        rows.append((part.name, chosen.seed, result["seconds"], told(result)))
    show(rows)
    print(f"revision {revision}; results in {chosen.results}")
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
