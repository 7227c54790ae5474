//! Data sets as folders: checking them before training, and importing other tools' formats.

pub mod check;
pub mod doubts;
pub mod import;

pub(crate) use check::on_all_processors;
