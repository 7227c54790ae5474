#!/usr/bin/env bash
# Runs the C tests (tests/c_api.rs) with a sanitizer in libfcn and in the C programs:
# scripts/sanitize.sh address|thread (`make asan`, `make tsan`).
#
# RUSTC_BOOTSTRAP lets a stable rustc accept the options. AddressSanitizer's runtime is the C
# compiler's; ThreadSanitizer's is rustc's, because GCC 12's is too old for it. ThreadSanitizer must
# see the locks of the standard library, so it is built from source, which takes
# `rustup component add rust-src`. ONNX Runtime is not instrumented: only its calls to malloc, memcpy,
# pthread_create and the like are seen.
set -euo pipefail
cd "$(dirname "$0")/.."
sanitizer=${1:?address or thread}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
triple=$(rustc -vV | sed -n 's/^host: //p')

# Without the tests that use valgrind, that limit threads, stack or address space, or that replace
# functions which the sanitizer replaces, too; and without those that fork while other threads
# allocate: in the child, the lock of the sanitizer's allocator stays locked.
tests=(
    bad_input_is_answered_not_followed
    streams_keep_their_promises
    many_threads_share_a_handle
    calls_that_enter_a_stream_too_late_get_a_status
    wrapper_works_for_cpp
    options_say_what_a_foreign_model_expects
)
case $sanitizer in
    address)
        std=()
        # The runtime looks for C++'s exceptions when the program starts, before ONNX Runtime brings them.
        flags="-fsanitize=address -Wl,--no-as-needed,-lstdc++"
        # valgrind checks for leaks; it has suppressions for ONNX Runtime.
        export ASAN_OPTIONS=detect_leaks=0
        tests+=(a_program_may_end_with_everything_still_there)
        ;;
    thread)
        if [[ ! -d $(rustc --print sysroot)/lib/rustlib/src ]]; then
            echo "the source of the standard library is missing: run rustup component add rust-src" >&2
            exit 1
        fi
        std=(-Zbuild-std)
        runtime=$(rustc --print sysroot)/lib/rustlib/$triple/lib/librustc-stable_rt.tsan.a
        flags="-Wl,--whole-archive,$runtime,--no-whole-archive,--export-dynamic,--no-as-needed,-lstdc++,-lm"
        # The atomic operations that order ONNX Runtime's accesses are not seen.
        export TSAN_OPTIONS="ignore_noninstrumented_modules=1 suppressions=$PWD/tests/c/tsan.supp"
        ;;
    *)
        echo "there is no sanitizer $sanitizer: use address or thread" >&2
        exit 1
        ;;
esac
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=$sanitizer cargo build --package fcn --lib --target "$triple" \
    "${std[@]}" --target-dir "$target/$sanitizer"
export FCN_TEST_SANITIZED=$target/$sanitizer/$triple/debug/libfcn.so FCN_TEST_FLAGS=$flags
# ThreadSanitizer's shadow memory needs the addresses of a process that is not randomised.
setarch --addr-no-randomize cargo test --workspace --test c_api -- --exact "${tests[@]}"
