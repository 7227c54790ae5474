#!/usr/bin/env bash
# Runs the C tests (tests/c_api.rs) with AddressSanitizer in libfcn and in the C programs: `make asan`.
# RUSTC_BOOTSTRAP lets a stable rustc accept the option; the runtime is the C compiler's. The standard
# library and ONNX Runtime are not instrumented: only their malloc, free and memcpy calls are checked.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
triple=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo build --package fcn --lib --target "$triple" --target-dir "$target/asan"

# Without the tests that use valgrind, that limit threads, stack or address space, or that replace
# functions which the sanitizer replaces, too.
tests=(
    bad_input_is_answered_not_followed
    streams_keep_their_promises
    many_threads_share_a_handle
    a_program_may_end_with_everything_still_there
    a_forked_child_leaves_the_parents_handle_alone
    a_child_forked_while_another_thread_creates_does_not_hang
    calls_that_enter_a_stream_too_late_get_a_status
    wrapper_works_for_cpp
    options_say_what_a_foreign_model_expects
)
# valgrind checks for leaks; it has suppressions for ONNX Runtime.
export ASAN_OPTIONS=detect_leaks=0 FCN_TEST_ASAN="$target/asan/$triple/debug/libfcn.so"
cargo test --package fcn --test c_api -- --exact "${tests[@]}"
