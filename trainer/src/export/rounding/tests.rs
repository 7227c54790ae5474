//! Rounded weights against plain loops over inputs, against every choice of steps, and against the
//! nearest steps.

use tch::{Device, Kind, Tensor};

use super::*;

/// Inputs with this step and no offset.
const INPUT: Scale = Scale { scale: 0.02, zero: 0 };

/// Numbers from -1 to 1, determined by the seed.
fn random(size: &[i64], seed: u32) -> Tensor {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::from_slice(&(0..size.iter().product()).map(next).collect::<Vec<f32>>()).view(size)
}

/// Random weights, and a bias of 0.
fn conv(weight: [i64; 4], stride: i64, padding: Padding, groups: i64, seed: u32) -> Conv {
    let weight = random(&weight, seed);
    Conv { name: "conv".into(), weight, bias: None, stride, padding, groups }
}

/// An image whose channels are non-negative mixtures of fewer ones, as after a ReLU.
fn mixed(channels: i64, sources: i64, side: i64, seed: u32) -> Tensor {
    let shares = random(&[channels, sources], !seed).abs();
    shares.matmul(&random(&[sources, side * side], seed).abs()).view([1, channels, side, side])
}

fn rounded(conv: &Conv, image: &Tensor) -> Rounded {
    let mut moments = Moments::new(conv).unwrap();
    moments.add(conv, image).unwrap();
    moments.round(conv, INPUT).unwrap()
}

/// Weights from their integers.
fn restored(rounded: &Rounded, conv: &Conv) -> Tensor {
    let steps = Tensor::from_slice(&rounded.weight).to_kind(Kind::Float).view(&conv.weight.size()[..]);
    steps * Tensor::from_slice(&rounded.scales).view([-1, 1, 1, 1])
}

/// Weights rounded to the nearest of the same steps.
fn nearest(rounded: &Rounded, conv: &Conv) -> Tensor {
    let scales = Tensor::from_slice(&rounded.scales).view([-1, 1, 1, 1]);
    (&conv.weight / &scales).round() * scales
}

/// The mean squared change of a convolution's results with other weights.
fn change(conv: &Conv, weight: &Tensor, image: &Tensor) -> f64 {
    let apply = |weight: &Tensor| {
        image.conv2d(weight, None::<Tensor>, [conv.stride; 2], [conv.padding.before; 2], [1, 1], conv.groups)
    };
    (apply(weight) - apply(&conv.weight)).square().mean(Kind::Double).double_value(&[])
}

#[test]
fn moments_are_those_of_plain_loops() {
    for (groups, inputs) in [(1, 4), (4, 1), (2, 2)] {
        let conv = conv([4, inputs, 3, 3], 2, Padding { before: 0, after: 1 }, groups, 1);
        let image = random(&[1, 4, 9, 12], 2);
        let mut moments = Moments::new(&conv).unwrap();
        moments.add(&conv, &image).unwrap();
        moments.add(&conv, &image).unwrap();

        let pixel = |channel: i64, row: i64, column: i64| {
            if row < 9 && column < 12 { image.double_value(&[0, channel, row, column]) } else { 0.0 }
        };
        let columns = inputs * 9;
        assert_eq!(moments.sums.size(), [groups, columns, columns]);
        for group in 0..groups {
            let mut truth = vec![0.0; (columns * columns) as usize];
            for (row, column) in (0..4).flat_map(|row| (0..6).map(move |column| (row * 2, column * 2))) {
                let window: Vec<f64> =
                    (0..columns).map(|i| pixel(group * inputs + i / 9, row + i / 3 % 3, column + i % 3)).collect();
                for (index, sum) in truth.iter_mut().enumerate() {
                    *sum += 2.0 * window[index / window.len()] * window[index % window.len()];
                }
            }
            let sums = Vec::<f64>::try_from(moments.sums.get(group).flatten(0, -1)).unwrap();
            for (sum, truth) in sums.iter().zip(&truth) {
                assert!((sum - truth).abs() < 1e-4, "{groups} groups: {sum} instead of {truth}");
            }
        }
    }
}

#[test]
fn steps_lie_between_the_nearest_and_the_best() {
    let (mut own, mut least, mut plain) = (0.0, 0.0, 0.0);
    for seed in 0..20 {
        let conv = conv([1, 8, 1, 1], 1, Padding::even(0), 1, seed);
        let image = mixed(8, 12, 16, seed + 100);
        let rounded = rounded(&conv, &image);
        own += change(&conv, &restored(&rounded, &conv), &image);
        plain += change(&conv, &nearest(&rounded, &conv), &image);
        let scale = f64::from(rounded.scales[0]);
        let lower = (&conv.weight / scale).floor();
        least += (0..256)
            .map(|choice| {
                let ups: Vec<f32> = (0..8).map(|bit| (choice >> bit & 1) as f32).collect();
                let weight = (&lower + Tensor::from_slice(&ups).view([1, 8, 1, 1])) * scale;
                change(&conv, &weight, &image)
            })
            .fold(f64::INFINITY, f64::min);
    }
    assert!(own < 0.25 * plain, "rounding changes results by {own}, the nearest steps by {plain}");
    assert!(own < 10.0 * least, "rounding changes results by {own}, the best choice by {least}");
}

#[test]
fn results_change_less_than_with_the_nearest_steps() {
    // One block; several of them, as in large convolutions; one window per channel.
    for (weight, groups) in [([24, 48, 1, 1], 1), ([8, 160, 3, 3], 1), ([48, 1, 5, 5], 48)] {
        let conv = conv(weight, 1, Padding::even(weight[2] / 2), groups, 3);
        let image = mixed(weight[1] * groups, 6, 40, 4);
        let rounded = rounded(&conv, &image);
        let (own, plain) =
            (change(&conv, &restored(&rounded, &conv), &image), change(&conv, &nearest(&rounded, &conv), &image));
        assert!(own < 0.5 * plain, "{weight:?}: rounding changes results by {own}, the nearest steps by {plain}");
        let (least, most) = (*rounded.weight.iter().min().unwrap(), *rounded.weight.iter().max().unwrap());
        let range = if groups == 1 { -64..=63 } else { -127..=127 };
        assert!(range.contains(&least) && range.contains(&most), "{weight:?}: weights from {least} to {most}");
        // The whole range is used: the largest weight of each channel determines its scale.
        assert!(most > *range.end() - 3 || least < *range.start() + 3, "{weight:?}: weights from {least} to {most}");
    }
}

#[test]
fn inputs_that_are_always_zero_leave_the_nearest_steps() {
    let conv = conv([4, 6, 3, 3], 1, Padding::even(1), 1, 5);
    let rounded = rounded(&conv, &Tensor::zeros([1, 6, 8, 8], (Kind::Float, Device::Cpu)));
    let worst = (restored(&rounded, &conv) - nearest(&rounded, &conv)).abs().max().double_value(&[]);
    assert!(worst < 1e-6, "weights differ from the nearest steps by {worst}");
    assert_eq!(rounded.bias, [0; 4]);
}
