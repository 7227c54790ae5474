//! Trains fully convolutional networks on photos and masks.

fn main() {}
