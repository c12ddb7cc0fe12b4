"""The shape of the code, in figures: lines, files, long functions, long signatures, imports that run in circles.

python benchmarks/structure.py [ROOT]
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

LONG = 60


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def positional(tree: ast.AST) -> int:
    """The most positional arguments that a call has."""
    return max((len(node.args) for node in ast.walk(tree) if isinstance(node, ast.Call)), default=0)


def module_of(path: Path, root: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path) -> dict[str, set[str]]:
    """Of each module of sycam and sygus those that it imports, inside functions too."""
    files = {module_of(p, root): p for top in ("sygus", "sycam") for p in sorted((root / top).rglob("*.py"))}
    found: dict[str, set[str]] = {}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        wanted: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    up = package.split(".")[: len(package.split(".")) - node.level + 1]
                    base = ".".join([*up, *([base] if base else [])])
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    wanted.add(inner if inner in files else base)
        found[name] = {w for w in wanted if w in files and w != name}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of nodes that reach each other (Tarjan), the larger ones first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while (one := stack.pop()) != node:
                group.append(one)
            if group:
                found.append(sorted([node, *group]))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found, key=len, reverse=True)


def folder_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    for title, tops in (("library", ("sygus", "sycam")), ("tests", ("tests",)), ("benchmarks", ("benchmarks",))):
        paths = [p for top in tops for p in (root / top).rglob("*.py")]
        lines = [len(p.read_text().splitlines()) for p in paths]
        short = sum(n < 60 for p, n in zip(paths, lines, strict=True) if p.name != "__init__.py")
        print(f"{title:10} {sum(lines):6,} lines, {len(paths)} files, {short} of them under 60 lines, longest {max(lines)}")
    sizes, wide, calls = [], [], []
    for top in ("sygus", "sycam"):
        for path in (root / top).rglob("*.py"):
            tree = ast.parse(path.read_text())
            calls.append((positional(tree), str(path.relative_to(root))))
            for one in functions(tree):
                assert one.end_lineno is not None
                where = f"{path.relative_to(root)}:{one.name}"
                sizes.append((one.end_lineno - one.lineno + 1, where))
                wide.append((parameters(one), where))
    print(f"functions over {LONG} lines: {sum(n > LONG for n, _ in sizes)}; longest {sorted(sizes, reverse=True)[:5]}")
    print(f"ten longest signatures: {[n for n, _ in sorted(wide, reverse=True)[:10]]} {sorted(wide, reverse=True)[:10]}")
    print(f"most positional arguments of a call: {sorted(calls, reverse=True)[:3]}")
    graph = imports(root)
    inside = {name: {o for o in others if o.split(".")[0] == name.split(".")[0]} for name, others in graph.items()}
    print(f"circles of files: {circles({n: {o for o in os_ if o not in ('sycam', 'sygus')} for n, os_ in inside.items()})}")
    folders: dict[str, set[str]] = {}
    for name, others in inside.items():
        if name not in ("sycam", "sygus"):
            folders.setdefault(folder_of(name), set()).update(
                folder_of(o) for o in others if o not in ("sycam", "sygus") and folder_of(o) != folder_of(name)
            )
    print(f"circles of folders: {circles(folders)}")


if __name__ == "__main__":
    main()
