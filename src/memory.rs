//! Allocations that grow with the model or the frame. If one fails, it is an error and does not
//! abort the process.

use crate::{Error, Result};

/// Resizes `buffer`, filling with default values. `what` describes the buffer in the error message.
pub(crate) fn set_length<T: Clone + Default>(buffer: &mut Vec<T>, length: usize, what: &str) -> Result<()> {
    reserve(buffer, length, what)?;
    buffer.resize(length, T::default());
    Ok(())
}

/// Reserves space for `length` values in total.
pub(crate) fn reserve<T>(buffer: &mut Vec<T>, length: usize, what: &str) -> Result<()> {
    let missing = length.saturating_sub(buffer.len());
    buffer.try_reserve_exact(missing).map_err(|_| out_of_memory(length.saturating_mul(size_of::<T>()), what))
}

/// Collects the values in a vector.
pub(crate) fn collect<T>(values: impl ExactSizeIterator<Item = T>, what: &str) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    reserve(&mut vector, values.len(), what)?;
    vector.extend(values);
    Ok(vector)
}

/// Copies the values to a vector.
pub(crate) fn copy<T: Copy>(values: &[T], what: &str) -> Result<Vec<T>> {
    collect(values.iter().copied(), what)
}

/// Fails if `bytes` of memory cannot be allocated now: for libraries that abort if an allocation
/// fails.
pub(crate) fn check_available(bytes: usize, what: &str) -> Result<()> {
    reserve(&mut Vec::<u8>::new(), bytes, what)
}

/// The error for an allocation of `bytes` that failed.
pub(crate) fn out_of_memory(bytes: usize, what: &str) -> Error {
    let amount = match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    };
    Error::OutOfMemory(format!("cannot allocate {amount} for {what}"))
}
