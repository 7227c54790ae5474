//! Trains fully convolutional networks on photos and masks in the Pascal VOC layout, for use with libfcn.

pub mod augment;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod data;
pub mod error;
pub mod evaluate;
pub mod export;
pub mod labelmap;
pub mod loader;
pub mod metrics;
pub mod model;
pub mod picture;
pub mod predict;
pub mod record;
pub mod report;

pub mod schedule;
pub mod sgd;
pub mod train;
