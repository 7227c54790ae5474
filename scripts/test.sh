#!/usr/bin/env bash
# Runs every check, fastest first. `make test` installs the native libraries before. The last line is
# "N passed, N failed, N skipped", summed over all test programs.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
rm -f "$target/skipped.txt" "$target/summary.txt"

cargo fmt --all --check
scripts/check_layers.py src trainer/src python/src
# rustfmt does not check the width of comments.
long_comments=$(find src tests examples benches cli python trainer/src -type f \
    \( -name '*.rs' -o -name '*.[ch]' -o -name '*.[ch]pp' -o -name '*.py' \) -exec awk '
        length > 100 && /^[ \t]*(\/\/|\/\*|\* |# )/ { print FILENAME ":" FNR ": a comment of " length " columns; 100 are allowed" }
    ' {} +)
if [ -n "$long_comments" ]; then
    echo "$long_comments" >&2
    exit 1
fi
for crate in fuzz fuzz/trainer; do cargo fmt --manifest-path "$crate/Cargo.toml" --check; done
cargo clippy --workspace --all-targets -- -D warnings
RUSTDOCFLAGS=-Dwarnings cargo doc --package fcn --no-deps

status=0
cargo test --workspace --no-fail-fast 2>&1 | tee "$target/test.log" || status=$?
# The numeric suites once more without AVX2, as on other processors. Nothing is rebuilt.
for tests in "--test foreign_models --test frames --test outputs --test outputs_together --test segment --test size_modes" \
    "--lib -- head:: preprocess::"; do
    # shellcheck disable=SC2086 # They are several arguments.
    FCN_TEST_ARRAYS=1 cargo test --workspace --no-fail-fast $tests 2>&1 | tee -a "$target/test.log" || status=$?
done

# Cargo counts a skipped test as passed; it leaves a line in this file (tests/common/mod.rs).
touch "$target/skipped.txt"
sort "$target/skipped.txt" | sed 's/^/not tested here: /'
awk -v skipped="$(wc -l < "$target/skipped.txt")" '
    /^test result: / { programs++; passed += $4; failed += $6; skipped += $8 }
    END {
        if (!programs) { print "no test program ran"; exit 1 }
        printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped
    }' "$target/test.log" | tee "$target/summary.txt"
exit "$status"
