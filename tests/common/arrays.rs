//! Lets tests run on arrays instead of the processor's vectors: with FCN_TEST_ARRAYS set, as
//! `scripts/test.sh` runs them a second time. The library itself looks at no such variable.
#![allow(dead_code, unreachable_pub, reason = "each suite takes what it needs")]

/// Whether the variable is set.
pub fn are_asked_for() -> bool {
    std::env::var_os("FCN_TEST_ARRAYS").is_some()
}

/// Run before main, so that no test can be first and every suite is covered by naming this file.
extern "C" fn choose() {
    if are_asked_for() {
        fcn::use_arrays();
    }
}

// SAFETY: functions in this section are called before main, with arguments that `choose` leaves
// alone.
#[used]
#[unsafe(link_section = ".init_array")]
static CHOOSE: extern "C" fn() = choose;
