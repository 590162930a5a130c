"""Small faults, each a change of one expression or statement.

A mutant has a digest of what it changes, of where, and of a seed. The ones with the lowest digests are chosen: a
change of the code elsewhere leaves the choice as it is, so that two commits are compared on the same mutants.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPPOSITES: dict[type[ast.AST], type[Any]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
}
LOG = {"debug", "info", "warning", "error", "exception"}


@dataclass(frozen=True)
class Mutant:
    """`before` in `function` of the file `path` becomes `after`; the `ordinal`-th of these there, from 0.

    Attributes:
        line: of `before`, from 1, in the source that it was found in.
        start, end: of `before`, in bytes of that source.
    """

    path: str
    function: str
    before: str
    after: str
    ordinal: int
    line: int
    start: int
    end: int

    @property
    def key(self) -> str:
        """What names it in each commit that has it."""
        return f"{self.path}:{self.function}: {self.before} -> {self.after} #{self.ordinal}"

    def digest(self, seed: int) -> str:
        return hashlib.sha256(f"{seed}:{self.key}".encode()).hexdigest()

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants_of(root: Path, path: str) -> Iterator[Mutant]:
    """All mutants of the file `path` below `root`."""
    source = (root / path).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    seen: Counter[tuple[str, str, str]] = Counter()
    for function, node in _statements_and_expressions(ast.parse(source), ""):
        start = starts[node.lineno - 1] + node.col_offset
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        end = starts[node.end_lineno - 1] + node.end_col_offset
        before = " ".join(source[start:end].decode().split())
        for after in _changed(node):
            place = (function, before, after)
            yield Mutant(path, function, before, after, seen[place], node.lineno, start, end)
            seen[place] += 1


def _statements_and_expressions(node: ast.AST, function: str) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    """What a function does: no decorators, annotations, defaults, docstrings and texts of messages."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside = f"{function}.{child.name}".lstrip(".")
            for statement in child.body:
                yield from _with_children(statement, inside)


def _with_children(node: ast.AST, function: str) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    if isinstance(node, ast.JoinedStr | ast.AnnAssign | ast.Raise | ast.arguments):
        return
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield from _statements_and_expressions(ast.Module([node], []), function)
        return
    if isinstance(node, ast.expr | ast.stmt):
        yield function, node
    for child in ast.iter_child_nodes(node):
        yield from _with_children(child, function)


def _changed(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPPOSITES:
            yield ast.unparse(ast.Compare(left, [OPPOSITES[type(op)]()], [right]))
        case ast.BoolOp(op=op, values=values):
            yield f"({ast.unparse(ast.BoolOp(OPPOSITES[type(op)](), values))})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPPOSITES:
            yield f"({ast.unparse(ast.BinOp(left, OPPOSITES[type(op)](), right))})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield f"bool({ast.unparse(operand)})"
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield str(value + 1)
        case ast.Return(value=ast.expr()) if ast.unparse(node) != "return None":
            yield "return None"
        case ast.Expr(value=ast.Call() | ast.Await() as called) if not _logs(called):
            yield "pass"


def _logs(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in LOG
    return False
