#!/usr/bin/env bash
# Runs the C tests (tests/c_api.rs) with a sanitizer in libfcn and in the C programs:
# scripts/sanitize.sh address|thread (`make asan`, `make tsan`).
#
# RUSTC_BOOTSTRAP lets a stable rustc accept the options; the sanitizer's runtime is the C compiler's.
# ThreadSanitizer must see the locks of the standard library, so it is built from source, which takes
# `rustup component add rust-src`. ONNX Runtime is not instrumented: only its calls to malloc, memcpy,
# pthread_create and the like are seen.
set -euo pipefail
cd "$(dirname "$0")/.."
sanitizer=${1:?address or thread}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
triple=$(rustc -vV | sed -n 's/^host: //p')

# Without the tests that use valgrind, that limit threads, stack or address space, or that replace
# functions which the sanitizer replaces, too.
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
        # valgrind checks for leaks; it has suppressions for ONNX Runtime.
        export ASAN_OPTIONS=detect_leaks=0
        tests+=(
            a_program_may_end_with_everything_still_there
            a_forked_child_leaves_the_parents_handle_alone
            a_child_forked_while_another_thread_creates_does_not_hang
        )
        ;;
    thread)
        if [[ ! -d $(rustc --print sysroot)/lib/rustlib/src ]]; then
            echo "the source of the standard library is missing: run rustup component add rust-src" >&2
            exit 1
        fi
        std=(-Zbuild-std)
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
export FCN_TEST_SANITIZER=$sanitizer FCN_TEST_SANITIZED=$target/$sanitizer/$triple/debug/libfcn.so
# ThreadSanitizer's shadow memory needs the addresses of a process that is not randomised.
setarch --addr-no-randomize cargo test --package fcn --test c_api -- --exact "${tests[@]}"
