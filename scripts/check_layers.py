#!/usr/bin/env python3
"""Fails if modules of a crate depend on each other in a cycle.

    scripts/check_layers.py FOLDER...

FOLDER contains a crate's lib.rs. Modules are the files and folders next to it. A module depends on
those in its `use crate::` lines, directly or through the crate's re-exports. Tests are ignored.
"""

import re
import sys
from pathlib import Path


def paths(text):
    """The first names of the paths in `use crate::` lines."""
    for body in re.findall(r"^\s*(?:pub(?:\([a-z]+\))? )?use crate::(\{.*?\}|[^;]*);", text, re.DOTALL | re.MULTILINE):
        # One level of braces: what nested ones hold is inside the module that stands before them.
        while (flat := re.sub(r"::\{[^{}]*\}", "", body)) != body:
            body = flat
        yield from re.findall(r"(?:^|[{,])\s*([A-Za-z_0-9]+)", body)


def dependencies(root):
    library = (root / "lib.rs").read_text()
    modules = set(re.findall(r"^(?:pub )?mod ([a-z_0-9]+);", library, re.MULTILINE))
    exported = {
        name: module
        for module, names in re.findall(r"^pub use ([a-z_0-9]+)::\{?([^;]*?)\}?;", library, re.DOTALL | re.MULTILINE)
        for name in re.findall(r"\w+", names)
    }
    found = {module: set() for module in modules}
    for file in root.rglob("*.rs"):
        module = file.relative_to(root).parts[0].removesuffix(".rs")
        if module not in modules or file.name == "tests.rs":
            continue
        code = file.read_text().split("#[cfg(test)]\nmod tests {")[0]
        found[module] |= {exported.get(name, name) for name in paths(code)} & modules - {module}
    if not any(found.values()):
        sys.exit(f"{root}: no module with a dependency was found")
    return found


def reachable(found, start):
    seen, waiting = set(), [start]
    while waiting:
        for module in found[waiting.pop()] - seen:
            seen.add(module)
            waiting.append(module)
    return seen


def main():
    failed = False
    for root in map(Path, sys.argv[1:]):
        found = dependencies(root)
        below = {module: reachable(found, module) for module in found}
        cycles = {frozenset(other for other in below[module] if module in below[other]) for module in found} - {frozenset()}
        for cycle in cycles:
            failed = True
            print(f"{root}: modules depend on each other: {', '.join(sorted(cycle))}", file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
