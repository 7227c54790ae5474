#!/usr/bin/env bash
# Builds the fuzz targets and runs each of them, SECONDS in total: scripts/fuzz.sh [SECONDS] [TARGET]. TARGET
# is one of them, or the folder of a crate, fuzz or fuzz/trainer, for all of its targets.
# libFuzzer adds its finds to target/fuzz/corpus. Inputs that crash, hang or take too much memory are
# written to target/fuzz/found, and the log of each target to target/fuzz/TARGET.log.
#
# RUSTC_BOOTSTRAP lets a stable rustc accept the options. Everything is built with AddressSanitizer but
# the standard library, ONNX Runtime and libtorch.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
only=${2:-}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
mkdir -p "$target/found"
triple=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1 TMPDIR=/dev/shm CARGO_TARGET_DIR=$target
export ORT_DYLIB_PATH=${ORT_DYLIB_PATH:-$PWD/.deps/onnxruntime/lib/libonnxruntime.so.1}
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address"

# The targets of a crate.
names() { sed -n 's/^name = "\(.*\)"$/\1/p' "$1/Cargo.toml" | tail -n +2; }

# The folders of seeds for target $2 of crate $1.
seeds() {
    case $2 in
        image) echo tests/images ;;
        weights) echo trainer/tests/reference/pth ;;
    esac
    if [[ -d $1/corpus/$2 ]]; then echo "$1/corpus/$2"; fi
}

run() {
    local name=$2 log=$target/$2.log folders
    mapfile -t folders < <(seeds "$1" "$2")
    mkdir -p "$target/corpus/$name"
    # ONNX Runtime and libtorch keep memory until the process ends, so leaks are not reported.
    if ! ASAN_OPTIONS=detect_leaks=0 LD_LIBRARY_PATH=.deps/libtorch/lib \
        "$target/$triple/release/$name" "$target/corpus/$name" "${folders[@]}" \
        -max_total_time="$each" -rss_limit_mb=4096 -timeout=20 -max_len=4096 -len_control=0 \
        -print_final_stats=1 -artifact_prefix="$target/found/$name-" > "$log" 2>&1; then
        tail -n 60 "$log"
        echo "fuzz $name: FAILED; the input is in $target/found"
        status=1
        return
    fi
    echo "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions in $each s"
}

# Whether target $2 of crate $1 is wanted.
wanted() { [[ -z $only || $only == "$1" || $only == "$2" ]]; }

chosen=()
for crate in fuzz fuzz/trainer; do
    for name in $(names "$crate"); do
        if wanted "$crate" "$name"; then chosen+=("$crate $name"); fi
    done
done
if ((${#chosen[@]} == 0)); then
    echo "there is no fuzz target $only" >&2
    exit 1
fi
# With --target, the options apply to the targets alone, not to build scripts and macros.
for crate in $(printf '%s\n' "${chosen[@]}" | cut -d ' ' -f 1 | uniq); do
    cargo build --release --target "$triple" --manifest-path "$crate/Cargo.toml" --bins
done
each=$(((seconds + ${#chosen[@]} - 1) / ${#chosen[@]}))
status=0
for pair in "${chosen[@]}"; do
    read -r crate name <<< "$pair"
    run "$crate" "$name"
done
exit "$status"
