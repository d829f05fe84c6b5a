"""The rules of style that a machine can hold: lengths, import direction, exception clauses, banned calls, sync points.

Compiled sources are read as text, by indentation; the rest through ``ast``. The tree is found from this file, so that
an unpacked sdist is checked like a clone.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("kernels", "ipc", "storage", "node", "tools")
PYTHON = sorted(path for folder in (*FOLDERS, "tests") for path in (ROOT / folder).rglob("*.py"))
CYTHON = sorted(path for folder in FOLDERS for ending in ("*.pyx", "*.pxd") for path in (ROOT / folder).rglob(ending))
HEADERS = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.h"))
SOURCES = [*PYTHON, *CYTHON, *HEADERS, ROOT / "setup.py"]
FILE_LINES_MAX, FUNCTION_LINES_MAX = 500, 70

MAY_IMPORT = {
    "kernels": {"kernels"},
    "ipc": {"ipc"},
    "storage": {"storage"},
    "node": {"node", "kernels", "ipc", "storage"},
    "tools": set(FOLDERS),
}
NO_WALL_CLOCK = ("kernels", "ipc", "storage", "node")
COMPILED_DEF = re.compile(r"^(\s*)(?:cdef|cpdef|def)\s+(?!class\b|struct\b|packed\b|enum\b|extern\b)[^=]*\(")
# A function that returns an object says failure by returning none, so it has no clause.
RETURNS_OBJECT = re.compile(r"\s*cp?def\s+(?:inline\s+)?(?:object|list|tuple|dict|set|bytes|str|cnp\.ndarray)\s+\w+\(")
EXCEPTION_CLAUSE = re.compile(r"\bnoexcept\b|\bexcept\s*[?+*\-\w]")


def name(path):
    return str(path.relative_to(ROOT))


def files(paths):
    return pytest.mark.parametrize("path", paths, ids=name)


def test_the_tree_was_found():
    assert len(PYTHON) > 50 and len(CYTHON) > 10 and HEADERS


@files(SOURCES)
def test_no_file_is_too_long(path):
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


@files(SOURCES)
def test_names_say_what_a_file_is(path):
    assert path.stem not in ("utils", "util", "common", "helpers", "helper", "misc")


@files(PYTHON)
def test_python_module(path):
    tree = ast.parse(path.read_text())
    if tree.body:
        assert ast.get_docstring(tree), "opens without saying what it is and why"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name}: {length} lines"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("eval", "exec", "__import__"), f"line {node.lineno}: {node.func.id}"


def imported_folders(path):
    """(line, folder of ours) for every import, through whichever statement."""
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(path.read_text())):
            modules = []
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"line {node.lineno}: relative import"
                modules = [node.module]
                if node.module == "mixline":
                    modules = [f"mixline.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for module in modules:
                yield node.lineno, module.split(".")
    else:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r"\s*(?:from|cimport|import)\s+([\w.]+)", line)
            if found:
                yield number, found[1].split(".")


@files([path for path in [*PYTHON, *CYTHON] if path.relative_to(ROOT).parts[0] in FOLDERS])
def test_imports_point_one_way(path):
    allowed = MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    for number, parts in imported_folders(path):
        assert parts[0] not in (*FOLDERS, "tests"), f"line {number}: import mixline.{parts[0]} instead"
        if parts[0] == "mixline":
            assert parts[1] in allowed, f"line {number}: {'.'.join(parts)}"


@files(PYTHON)
def test_nothing_pickles(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        module = getattr(node, "module", None) or ""
        assert not {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"} & {*names, module}
        if path.is_relative_to(ROOT / "tests"):
            continue  # tests load their own files, and try to smuggle a pickle in
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False, f"line {node.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            assert any(keyword.arg == "allow_pickle" for keyword in node.keywords), f"line {node.lineno}: np.load"


@files([path for path in PYTHON if path.relative_to(ROOT).parts[0] in NO_WALL_CLOCK])
def test_durations_are_monotonic(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in ("time.time", "time.time_ns", "datetime.now"), f"line {node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            assert not {"time", "time_ns"} & {alias.name for alias in node.names}, f"line {node.lineno}"


def compiled_functions(path):
    """(line number, kind, signature, lines of it and its body) of every function in a .pyx or .pxd."""
    lines = path.read_text().splitlines()
    extern = None
    for at, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if extern is not None and line.strip() and indent <= extern:
            extern = None
        if re.match(r"\s*cdef extern\b", line):
            extern = indent
            continue
        starts = COMPILED_DEF.match(line)
        declared = extern is not None and indent > extern and re.match(r"\s+[\w\s*]+\(", line) and "=" not in line
        if not starts and not declared:
            continue
        end = at
        signature = line
        while signature.count("(") > signature.count(")") or signature.rstrip().endswith("\\"):
            end += 1
            signature += " " + lines[end].strip()
        last = end
        for below in range(end + 1, len(lines)):
            text = lines[below]
            if text.strip() and len(text) - len(text.lstrip()) <= indent:
                break
            if text.strip():
                last = below
        kind = "extern" if declared else line.split()[0]
        yield at + 1, kind, signature, last - at + 1


@files(CYTHON)
def test_compiled_module(path):
    assert path.read_text().lstrip().startswith(('"""', 'r"""')), "opens without saying what it is and why"
    for number, kind, signature, length in compiled_functions(path):
        assert length <= FUNCTION_LINES_MAX, f"line {number}: {length} lines"
        if kind == "def" or "ctypedef" in signature:
            continue
        clause = EXCEPTION_CLAUSE.search(signature) or RETURNS_OBJECT.match(signature)
        assert clause, f"line {number}: no exception clause: {signature.strip()}"


def test_the_exception_clause_check_can_fail(tmp_path):
    bad = tmp_path / "bad.pyx"
    bad.write_text(
        '"""Doc."""\ncdef int f(int a) nogil:\n    return a\n\ncdef class C:\n    cdef void g(self):\n        pass\n'
    )
    assert [(number, bool(EXCEPTION_CLAUSE.search(text))) for number, _, text, _ in compiled_functions(bad)] == [
        (2, False),
        (6, False),
    ]


def test_every_sync_point_is_paired():
    points = Counter()
    for path in [*PYTHON, *CYTHON, *HEADERS]:
        if path != Path(__file__):
            points.update(re.findall(r"SYNC POINT: ([\w -]+?)\s*(?:\*/)?$", path.read_text(), re.MULTILINE))
    assert points
    assert {point: count for point, count in points.items() if count % 2} == {}


@files(CYTHON)
def test_acquire_and_release_say_their_sync_point(path):
    """One comment may stand for the neighbouring line of the same pair."""
    lines = path.read_text().splitlines()
    for at, line in enumerate(lines):
        if re.search(r"mx_(load_acquire|store_release)\(&?\w", line) and "cdef" not in line and "noexcept" not in line:
            assert "SYNC POINT" in line + (lines[at - 1]), f"line {at + 1}"


@files([path for path in CYTHON if path.suffix == ".pyx"])
def test_each_compiled_module_has_a_stub(path):
    assert path.with_suffix(".pyi").exists()
