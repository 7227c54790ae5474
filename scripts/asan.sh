#!/usr/bin/env bash
# Runs the C tests (tests/c_api.rs) with AddressSanitizer in libfcn and in their programs: `make asan`. rustc takes the option
# from any Rust with RUSTC_BOOTSTRAP; the sanitizer's runtime is that of the C compiler. The standard library and ONNX Runtime
# are not compiled for it, so what they do to memory is seen only at malloc, free and memcpy.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
triple=$(rustc -vV | sed -n 's/^host: //p')
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address cargo build --package fcn --lib --target "$triple" --target-dir "$target/asan"

# Left out: those under valgrind, which is another sanitizer, and those that limit threads, stack or address space, or
# take the place of functions that the sanitizer takes the place of.
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
# Leaks are valgrind's, which knows what ONNX Runtime keeps.
export ASAN_OPTIONS=detect_leaks=0 FCN_TEST_ASAN="$target/asan/$triple/debug/libfcn.so"
cargo test --package fcn --test c_api -- --exact "${tests[@]}"
