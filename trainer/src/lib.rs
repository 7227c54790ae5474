//! Trains fully convolutional networks on photos and masks in the Pascal VOC layout, for use with
//! libfcn.

pub mod augment;
pub mod checkpoint;
pub mod class_weights;
pub mod cli;
pub mod confidence;
pub mod config;
pub mod console;
pub mod data;
pub mod dataset;
pub mod distributed;
pub mod ema;
pub mod error;
pub mod evaluate;
pub mod execution;
pub mod export;
mod folder;
pub mod import;
pub mod labelmap;
pub mod learner;
pub mod loader;
pub mod logging;
pub mod loss;
pub mod mask;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod optimizer;
mod parallel;
pub mod picture;
pub mod predict;
pub mod recipe;
pub mod report;
pub mod schedule;
pub mod signals;
pub mod text;
pub mod train;
