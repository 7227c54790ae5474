#!/usr/bin/env python3
"""Checks that each dependency in Cargo.lock has a licence which deny.toml allows, and comes from
crates.io: the part of `cargo deny check licenses sources` that needs no tool beyond cargo."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def allowed(expression: str, allow: set[str]) -> bool:
    """Evaluates an SPDX expression; `/` is the deprecated form of OR."""
    tokens = re.findall(r"[()]|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))
    words = [t.lower() if t in ("AND", "OR", "(", ")") else str(t in allow) for t in tokens]
    return eval(" ".join(words))  # Only the words and, or, True, False and parentheses.


def main() -> int:
    licenses = tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]
    exceptions = {entry["crate"]: set(entry["allow"]) for entry in licenses["exceptions"]}
    metadata = subprocess.run(
        ["cargo", "metadata", "--locked", "--format-version", "1"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    wrong = []
    packages = json.loads(metadata.stdout)["packages"]
    for package in packages:
        name = f"{package['name']} {package['version']}"
        allow = set(licenses["allow"]) | exceptions.get(package["name"], set())
        if not allowed(package["license"] or "none", allow):
            wrong.append(f"{name}: the licence is {package['license']}, which deny.toml does not allow")
        if package["source"] not in (None, CRATES_IO):
            wrong.append(f"{name}: it comes from {package['source']}, not from crates.io")
    print("\n".join(wrong) or f"{len(packages)} packages keep the rules")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
