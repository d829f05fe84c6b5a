"""Predicates: one line of text compiled into a tree of NumPy operations, once per text.

The text is parsed by Python's own parser and only the nodes listed here are taken; nothing is ever evaluated as code.
Categories and tags compare by label, and a comparison with a missing value is false, as in SQL.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from mixline.kernels.members import are_members, are_tagged
from mixline.node.errors import BadRequest
from mixline.storage.epoch import Epoch

if TYPE_CHECKING:
    from mixline.node.call import Call

Node = Callable[["Call"], Any]
TEXT_MAX = 2000
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class PredicateError(ValueError):
    """The text is not a predicate; the message names the part."""


class Predicate:
    """A compiled predicate. ``names`` are the columns it reads, ``labelled`` those compared with text; ``parameters``
    those of the request."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.names: set[str] = set()
        self.labelled: set[str] = set()
        self.numeric: set[str] = set()
        self.parameters: set[str] = set()
        if len(text) > TEXT_MAX:
            raise PredicateError(f"{len(text)} characters; at most {TEXT_MAX}")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
            self._root = self._condition(tree)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            if isinstance(error, PredicateError):
                raise
            raise PredicateError(f"{text!r} cannot be read: {error}") from None

    def holds(self, call: Call) -> np.ndarray:
        """Boolean per candidate of the block."""
        with np.errstate(all="ignore"):
            return spread(np.asarray(self._root(call), dtype=bool), call)

    def misfits(self, epoch: Epoch) -> Iterator[str]:
        """Names compared with text that are no category or tags, and the other way round."""
        for name in sorted(self.names):
            column = epoch.items.columns.get(name)
            kind = column.kind if column is not None else "a score"
            is_labels = kind in ("category", "tags")
            if name in self.labelled and not is_labels:
                yield f"{name} is {kind} and is compared with text"
            if name in self.numeric and is_labels:
                yield f"{name} is {kind} and is compared with a number"

    def _condition(self, node: ast.expr) -> Node:
        if isinstance(node, ast.BoolOp):
            parts = [self._condition(value) for value in node.values]
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return lambda call: reduce(join, [spread(part(call), call) for part in parts])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._condition(node.operand)
            return lambda call: np.logical_not(inner(call))
        if isinstance(node, ast.Compare):
            return self._chain(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "missing":
            if len(node.args) != 1 or not isinstance(node.args[0], ast.Name) or node.keywords:
                raise PredicateError("missing() takes one column name")
            name = self._read(node.args[0].id)
            return lambda call: ~present(call, name)
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            constant = node.value
            return lambda call: constant
        if isinstance(node, ast.Name):
            name = self._read(node.id, numeric=True)
            return lambda call: (call.column(name) == 1) & present(call, name)
        raise PredicateError(f"{ast.unparse(node)!r} is no condition")

    def _chain(self, node: ast.Compare) -> Node:
        sides = [node.left, *node.comparators]
        parts = [self._comparison(a, op, b) for a, op, b in zip(sides, node.ops, sides[1:], strict=False)]
        if len(parts) == 1:
            return parts[0]
        return lambda call: reduce(np.logical_and, [part(call) for part in parts])

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Node:
        if isinstance(op, (ast.In, ast.NotIn)):
            name, found = self._membership(left, right)
            return found if isinstance(op, ast.In) else lambda call: np.logical_not(found(call)) & known(call, name)
        compare = COMPARISONS.get(type(op))
        if compare is None:
            raise PredicateError(f"{type(op).__name__} is not one of == != < <= > >= in")
        for name_side, text_side in ((left, right), (right, left)):
            text = text_of(text_side)
            if text is not None:
                if not isinstance(name_side, ast.Name) or not isinstance(op, (ast.Eq, ast.NotEq)):
                    raise PredicateError(f"{text!r} can only stand beside a column with == or !=")
                equal = self._labels(name_side.id, [text])
                name = name_side.id
                if isinstance(op, ast.Eq):
                    return equal
                return lambda call: np.logical_not(equal(call)) & present(call, name)
        return self._compared(compare, left, right)

    def _compared(self, compare: Callable[[Any, Any], Any], left: ast.expr, right: ast.expr) -> Node:
        """A comparison of numbers, false where any column in it, however deep, has no value."""
        a, b = self._number(left), self._number(right)
        names = sorted({name for side in (left, right) for name in columns_in(side)})
        return lambda call: reduce(
            np.logical_and, [spread(compare(a(call), b(call)), call), *(present(call, n) for n in names)]
        )

    def _membership(self, left: ast.expr, right: ast.expr) -> tuple[str, Node]:
        """The column that is looked at, and where it is one of the values or holds the label."""
        if isinstance(right, ast.Name) and (text := text_of(left)) is not None:
            return right.id, self._labels(right.id, [text])
        if isinstance(right, ast.Name) and (wanted := parameter_of(left)) is not None:
            name = self._read(right.id)
            self.labelled.add(name)
            self.parameters.add(wanted)
            return name, lambda call: has_label(call, name, [text_parameter(call, wanted)])
        if isinstance(left, ast.Name) and isinstance(right, (ast.List, ast.Tuple)):
            texts = [text_of(one) for one in right.elts]
            if texts and all(text is not None for text in texts):
                return left.id, self._labels(left.id, [text for text in texts if text is not None])
            if texts:
                equal = [self._compared(operator.eq, left, one) for one in right.elts]
                return left.id, lambda call: reduce(np.logical_or, [part(call) for part in equal])
        raise PredicateError("'in' needs text or params.name in a column of labels, or a column in a list")

    def _labels(self, name: str, texts: list[str]) -> Node:
        self._read(name)
        self.labelled.add(name)
        return lambda call: has_label(call, name, texts)

    def _number(self, node: ast.expr) -> Node:
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
            constant = node.value
            float(constant)  # OverflowError: no number that a column could be compared with
            return lambda call: constant
        if isinstance(node, ast.Name):
            name = self._read(node.id, numeric=True)
            return lambda call: call.column(name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr[0] != "_":
            if node.value.id == "params":
                wanted = node.attr
                self.parameters.add(wanted)
                return lambda call: parameter(call, wanted)
            name = self._read(f"{node.value.id}.{node.attr}", numeric=True)
            return lambda call: call.column(name)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self._number(node.operand)
            return lambda call: operator.neg(as_float(inner(call)))
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            apply, a, b = ARITHMETIC[type(node.op)], self._number(node.left), self._number(node.right)
            return lambda call: apply(as_float(a(call)), as_float(b(call)))
        raise PredicateError(f"{ast.unparse(node)!r} is no number, column or params.name")

    def _read(self, name: str, numeric: bool = False) -> str:
        self.names.add(name)
        if numeric:
            self.numeric.add(name)
        return name


def text_of(node: ast.expr) -> str | None:
    """The text of a string constant."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def parameter_of(node: ast.expr) -> str | None:
    """The name behind ``params.``."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "params":
        return node.attr
    return None


def columns_in(node: ast.expr) -> set[str]:
    """The columns that an expression of numbers reads; ``params.x`` is none."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return set() if node.value.id == "params" else {f"{node.value.id}.{node.attr}"}
    return {name for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr) for name in columns_in(child)}


def spread(value: Any, call: Call) -> np.ndarray:
    """One value per candidate, also of a constant. NumPy's own broadcasting costs more than what is compared."""
    shape = (len(call.block),)
    return value if isinstance(value, np.ndarray) and value.shape == shape else np.broadcast_to(value, shape)


def as_float(value: Any) -> Any:
    """An operand of arithmetic in float64, where nothing wraps around and a division by 0 is an infinity."""
    return np.asarray(value, dtype=np.float64)


def known(call: Call, name: str) -> np.ndarray:
    """Where "not in" can be said: an item without tags is not in any, a missing value is nowhere."""
    column = call.epoch.items.columns.get(name)
    if column is not None and column.offsets is not None:
        return np.ones(len(call.block), dtype=bool)
    return present(call, name)


def parameter(call: Call, name: str) -> float:
    """A numeric parameter of the request; BAD_REQUEST when it is missing."""
    value = call.params.get(name)
    if isinstance(value, str) or value is None:
        raise BadRequest(f"params: this surface needs a number {name!r}")
    return value


def text_parameter(call: Call, name: str) -> str:
    """A parameter that is text; BAD_REQUEST when it is missing."""
    value = call.params.get(name)
    if not isinstance(value, str):
        raise BadRequest(f"params: this surface needs a text {name!r}")
    return value


def present(call: Call, name: str) -> np.ndarray:
    """Where the column has a value."""
    column = call.epoch.items.columns.get(name)
    if column is not None and column.offsets is not None:
        return column.offsets[call.block.row] < column.offsets[call.block.row.astype(np.int64) + 1]
    values = call.column(name)
    if column is None or column.kind == "f32":
        return ~np.isnan(values)
    return values != column.missing


def has_label(call: Call, name: str, texts: list[str]) -> np.ndarray:
    """Where a category is one of ``texts``, or tags hold one of them."""
    column = call.epoch.items.columns[name]
    codes = np.array(sorted(column.codes[text] for text in texts if text in column.codes), dtype=np.uint32)
    if column.offsets is not None:
        return are_tagged(call.block.row, column.offsets, column.values, codes)
    values = call.column(name)
    return are_members(values, codes) if values.dtype == codes.dtype else np.isin(values, codes)


@lru_cache(maxsize=1024)
def compile_predicate(text: str) -> Predicate:
    """Compile ``text`` once per process; :class:`PredicateError` says what is wrong with it."""
    return Predicate(text)
