//! Damaged cache entries: reading returns what was written, or nothing.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::{arbitrary::Unstructured, fuzz_target};
use tempfile::TempDir;

/// A folder in memory.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir_in("/dev/shm").expect("a folder in /dev/shm"));

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (network, damage) = input;
    let mut u = Unstructured::new(&damage);
    let mut before = Vec::new();
    let mut after = Vec::new();
    let read = fcn::fuzzing::read_damaged(FOLDER.path(), &network, |content| {
        before.clone_from(content);
        while let (false, Ok(kind), Ok(place)) =
            (u.is_empty(), u.int_in_range(0..=3), u.choose_index(content.len() + 1))
        {
            match (kind, u.arbitrary().unwrap_or_default()) {
                (0, _) => content.truncate(place),
                (1, byte) => content.insert(place, byte),
                (_, byte) => content.iter_mut().skip(place).take(1).for_each(|old| *old = byte),
            }
        }
        after.clone_from(content);
    });
    assert_eq!(read, (before == after).then_some(network));
});
