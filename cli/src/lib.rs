//! What the commands `fcn run` and `trainer predict` share: the photos and videos that arguments
//! name, the files that are made from them, and how labels are drawn and written.

pub mod inputs;
pub mod plan;
pub mod results;

/// Why something failed, as one sentence for the user.
pub type Result<T> = std::result::Result<T, String>;

/// Parses a number from 0 to 1.
pub fn share(text: &str) -> Result<f32> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "must be from 0 to 1".to_owned())
}
