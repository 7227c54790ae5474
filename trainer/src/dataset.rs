//! Checks data sets before training.

pub mod check;
pub mod doubts;
