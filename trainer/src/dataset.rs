//! Data sets as folders: checked before training, and made from what other programs wrote.

pub mod check;
pub mod doubts;
pub mod import;

pub(crate) use check::on_all_processors;
