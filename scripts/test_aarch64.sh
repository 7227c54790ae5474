#!/usr/bin/env bash
# Builds libfcn, its tests and its C and C++ programs for 64-bit Arm, and runs them with QEMU. `make test-aarch64`
# installs the tools before. FCN_CPU selects the processor that QEMU imitates: cortex-a76 (Raspberry Pi 5) or
# another one of `qemu-aarch64 -cpu help`. The last line is "N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
deps=$PWD/.deps/aarch64
triple=aarch64-unknown-linux-gnu
target=${CARGO_TARGET_DIR:-target}/aarch64
mkdir -p "$target"
target=$(realpath "$target")
built=$target/$triple/debug

# What is left out, besides the tests that name a missing tool themselves.
left_out="\
abi: compares with the ABI of x86-64
gpu: needs a GPU
header, licences: the same for all machines
hosts, install: build for this machine with its packages
memory, out_of_memory: count and limit the memory of QEMU, too"
# Single tests.
declare -A skipped=(
    [only_what_this_user_alone_can_write_is_trusted]="the namespace has a single user"
    [threads_follow_the_affinity]="counts the threads of QEMU, too"
    [too_little_address_space_is_an_error]="limits the memory of QEMU, too"
)
skip=()
for name in "${!skipped[@]}"; do
    skip+=(--skip "$name")
    left_out+=$'\n'"$name: ${skipped[$name]}"
done
programs=(
    background c_api cache create external_data foreign_models frames image_files machines near_misses outputs
    outputs_together segment size_modes stream telemetry two_routes
)

export RUSTC=$deps/bin/rustc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$deps/bin/aarch64-linux-gnu-gcc
export ORT_DYLIB_PATH=$deps/onnxruntime/lib/libonnxruntime.so.1
unset RUSTDOCFLAGS RUSTFLAGS RUSTC_WRAPPER FCN_NO_SKIP
cargo=(cargo test --package fcn --lib --example segment "${programs[@]/#/--test=}" --target "$triple" --target-dir "$target")

# The kernel starts programs for Arm with QEMU, but only in this script's own namespace.
if [[ ${1:-} != inside ]]; then
    "${cargo[@]}" --no-run
    exec unshare --user --map-root-user --mount "$0" inside
fi
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2> /dev/null || {
    echo "$0: this kernel has no binfmt_misc in namespaces; Linux 6.7 or newer is needed" >&2
    exit 1
}
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
echo ":fcn-aarch64:M::$magic:$mask:$deps/bin/qemu-aarch64:OCF" > /proc/sys/fs/binfmt_misc/register
export QEMU_CPU=${FCN_CPU:-cortex-a76} QEMU_LD_PREFIX=$deps/sysroot

# Tests call cc and c++, which are the cross compilers here.
compilers=$target/compilers
mkdir -p "$compilers"
for name in cc gcc; do ln -sf "$deps/bin/aarch64-linux-gnu-gcc" "$compilers/$name"; done
for name in c++ g++; do ln -sf "$deps/bin/aarch64-linux-gnu-g++" "$compilers/$name"; done
# Programs that cannot follow emulated ones, and compilers for this machine only.
export FCN_TEST_WITHOUT="valgrind strace clang ffmpeg"

status=0
rm -f "$target/$triple/skipped.txt"
PATH=$compilers:$PATH "${cargo[@]}" --no-fail-fast -- "${skip[@]}" 2>&1 \
    | tee "$target/test.log" || status=$?
# Without NEON, the arrays that other processors use.
FCN_TEST_ARRAYS=1 "${cargo[@]:0:4}" --lib --target "$triple" --target-dir "$target" -- head:: preprocess:: simd:: 2>&1 \
    | tee -a "$target/test.log" || status=$?

# The demo, as `make demo` builds it.
demo=$target/demo
mkdir -p "$demo"
soname=$(sed -n 's/^version = "\([0-9]*\.[0-9]*\)\..*/libfcn.so.\1/p' Cargo.toml | head -n 1)
ln -sf "$built/deps/libfcn.so" "$demo/$soname"
"$compilers/cc" -O2 -Wall -Wextra -Iinclude examples/segment.c -o "$demo/segment" "$demo/$soname" -Wl,-rpath,'$ORIGIN'
"$demo/segment" models/animals.onnx .deps/photos/chelsea.png "$demo/cat.png" 1 | grep -v '^time' || status=$?
"$demo/segment" models/street.onnx .deps/photos/china.jpg "$demo/pagoda.png" 1 | grep -v '^time' || status=$?

sed 's/^/left out: /' <<< "$left_out"
touch "$target/$triple/skipped.txt"
sort "$target/$triple/skipped.txt" | sed 's/^/not tested here: /'
awk -v skipped="$(wc -l < "$target/$triple/skipped.txt")" '
    /^test result: / { programs++; passed += $4; failed += $6; skipped += $8 }
    END {
        if (!programs) { print "no test program ran"; exit 1 }
        printf "%d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped
    }' "$target/test.log"
exit "$status"
