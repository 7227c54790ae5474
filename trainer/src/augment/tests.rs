use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

/// Keeps bytes unchanged, except for rounding.
const BYTES: Normalisation = Normalisation { mean: [0.0; 3], std: [1.0 / 255.0; 3] };
/// ImageNet's.
const IMAGENET: Normalisation = Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

fn sample(
    width: usize,
    height: usize,
    pixel: impl Fn(usize, usize) -> [u8; 3],
    index: impl Fn(usize, usize) -> u8,
) -> Sample {
    let places = || (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    Sample {
        id: "a".to_owned(),
        width,
        height,
        image: places().flat_map(|(x, y)| pixel(x, y)).collect(),
        mask: places().map(|(x, y)| index(x, y)).collect(),
    }
}

/// A photo of random bytes whose mask holds random classes.
fn noise(width: usize, height: usize) -> Sample {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut sample = sample(width, height, |_, _| [0; 3], |_, _| 0);
    sample.image.iter_mut().for_each(|value| *value = rng.random());
    sample.mask.iter_mut().for_each(|value| *value = rng.random_range(0..21));
    sample
}

fn apply(augment: &Augment, sample: &Sample, seed: u64) -> (Vec<f32>, Vec<u8>) {
    let pixels = augment.crop.0 * augment.crop.1;
    // Neither may show in the result.
    let (mut image, mut mask) = (vec![f32::NAN; 3 * pixels], vec![99; pixels]);
    augment.apply(sample, &mut ChaCha8Rng::seed_from_u64(seed), &mut image, &mut mask);
    (image, mask)
}

#[test]
fn scale_one_copies_pixels_exactly() {
    let sample = noise(31, 17);
    let augment = Augment::crops((17, 31), IMAGENET);
    let (image, mask) = apply(&augment, &sample, 0);
    for (place, pixel) in sample.image.chunks_exact(3).enumerate() {
        for c in 0..3 {
            let expected = (pixel[c] as f32 / 255.0 - IMAGENET.mean[c]) / IMAGENET.std[c];
            assert_eq!(image[c * 31 * 17 + place], expected, "pixel {place}, channel {c}");
        }
    }
    assert_eq!(mask, sample.mask);
}

#[test]
fn crops_are_windows_of_the_photo_at_every_place() {
    let sample = sample(7, 5, |x, y| [x as u8, y as u8, 9], |x, y| (10 * y + x) as u8);
    let augment = Augment::crops((3, 4), BYTES);
    let mut seen = [0; 12];
    for seed in 0..600 {
        let (image, mask) = apply(&augment, &sample, seed);
        let (left, top) = (mask[0] % 10, mask[0] / 10);
        seen[(top * 4 + left) as usize] += 1;
        for y in 0..3 {
            for x in 0..4 {
                let place = y * 4 + x;
                assert_eq!(mask[place], 10 * (top + y as u8) + left + x as u8);
                let pixel = [0, 1, 2].map(|c| image[12 * c + place].round() as u8);
                assert_eq!(pixel, [left + x as u8, top + y as u8, 9]);
            }
        }
    }
    // Uniform: 50 of 600 each on average, with a standard deviation of 7.
    assert!(seen.iter().all(|&n| (20..80).contains(&n)), "{seen:?}");
}

#[test]
fn small_photos_are_padded_at_a_random_place() {
    let sample = sample(3, 2, |_, _| [200; 3], |_, _| 4);
    let augment = Augment { flip: true, ..Augment::crops((4, 6), IMAGENET) };
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let (image, mask) = apply(&augment, &sample, seed);
        assert_eq!(mask.iter().filter(|&&index| index == 4).count(), 6);
        assert_eq!(mask.iter().filter(|&&index| index == VOID).count(), 18);
        seen.insert(mask.iter().position(|&index| index == 4).unwrap());
        for (place, &index) in mask.iter().enumerate() {
            for c in 0..3 {
                let expected = if index == VOID { 0.0 } else { (200.0 / 255.0 - IMAGENET.mean[c]) / IMAGENET.std[c] };
                assert_eq!(image[c * 24 + place], expected);
            }
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15]);
}

#[test]
fn flips_come_half_of_the_time() {
    let sample = sample(6, 2, |x, _| [x as u8; 3], |x, _| x as u8);
    let augment = Augment { flip: true, ..Augment::crops((2, 6), BYTES) };
    let flipped = (0..400).filter(|&seed| {
        let (image, mask) = apply(&augment, &sample, seed);
        assert!(image.iter().zip(mask.iter().cycle()).all(|(value, &index)| value.round() as u8 == index));
        match mask[0] {
            0 => assert_eq!(mask, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5]),
            _ => assert_eq!(mask, [5, 4, 3, 2, 1, 0, 5, 4, 3, 2, 1, 0]),
        }
        mask[0] == 5
    });
    // 200 on average, with a standard deviation of 10.
    assert!((150..250).contains(&flipped.count()));
}

// F.interpolate of PyTorch 2.13.0 on [[10, 20, 40], [100, 50, 200]], mode "bilinear" with
// align_corners=False, and mode "nearest-exact" on [[0, 1, 2], [3, 4, 5]].
#[test]
fn resampling_equals_that_of_pytorch() {
    struct Case {
        size: (usize, usize),
        image: &'static [f32],
        mask: &'static [u8],
    }
    let cases = [
        Case {
            size: (4, 6),
            image: &[
                10.0, 12.5, 17.5, 25.0, 35.0, 40.0, 32.5, 31.25, 28.75, 40.625, 66.875, 80.0, 77.5, 68.75, 51.25,
                71.875, 130.625, 160.0, 100.0, 87.5, 62.5, 87.5, 162.5, 200.0,
            ],
            mask: &[0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 3, 3, 4, 4, 5, 5],
        },
        Case { size: (2, 2), image: &[12.5, 35.0, 87.5, 162.5], mask: &[0, 2, 3, 5] },
        Case {
            size: (3, 5),
            image: &[10.0, 14.0, 20.0, 32.0, 40.0, 55.0, 47.0, 35.0, 86.0, 120.0, 100.0, 80.0, 50.0, 140.0, 200.0],
            mask: &[0, 0, 1, 2, 2, 3, 3, 4, 5, 5, 3, 3, 4, 5, 5],
        },
    ];
    let bytes = [[10, 20, 40], [100, 50, 200]];
    let sample = sample(3, 2, |x, y| [bytes[y][x], 0, bytes[y][x]], |x, y| (3 * y + x) as u8);
    for Case { size: (height, width), image, mask } in cases {
        let (rows, columns) = (CropSide::at(2, height, 0, height, false), CropSide::at(3, width, 0, width, false));
        let mut out = vec![f32::NAN; 3 * height * width];
        resample_image(&sample, &rows, &columns, &BYTES, &mut out);
        for c in [0, 2] {
            for (place, &expected) in image.iter().enumerate() {
                let value = out[c * height * width + place];
                assert!((value - expected).abs() < 1e-3, "{width} x {height}, {place}: {value} instead of {expected}");
            }
        }
        let mut out = vec![99; height * width];
        resample_mask(&sample, &rows, &columns, &mut out);
        assert_eq!(out, mask, "{width} x {height}");
    }
}

/// The specification of `resample_image`: every value on its own, from its four pixels, in double
/// precision.
fn reference(sample: &Sample, scaled: (usize, usize), start: (i64, i64), crop: (usize, usize), flip: bool) -> Vec<f64> {
    let byte = |x: usize, y: usize, c: usize| sample.image[3 * (y * sample.width + x) + c] as f64;
    let center = |place: i64, source: usize, scaled: usize| {
        ((place as f64 + 0.5) * source as f64 / scaled as f64 - 0.5).clamp(0.0, source as f64 - 1.0)
    };
    let mut values = Vec::new();
    for c in 0..3 {
        for y in 0..crop.0 as i64 {
            for x in 0..crop.1 as i64 {
                let x = start.1 + if flip { crop.1 as i64 - 1 - x } else { x };
                let y = start.0 + y;
                if !(0..scaled.0 as i64).contains(&y) || !(0..scaled.1 as i64).contains(&x) {
                    values.push(0.0);
                    continue;
                }
                let (u, v) = (center(x, sample.width, scaled.1), center(y, sample.height, scaled.0));
                let (left, top) = (u.floor(), v.floor());
                let (right, bottom) = (u.ceil() as usize, v.ceil() as usize);
                let (a, b) = (u - left, v - top);
                let (left, top) = (left as usize, top as usize);
                let above = byte(left, top, c) * (1.0 - a) + byte(right, top, c) * a;
                let below = byte(left, bottom, c) * (1.0 - a) + byte(right, bottom, c) * a;
                let value = above * (1.0 - b) + below * b;
                values.push((value / 255.0 - IMAGENET.mean[c] as f64) / IMAGENET.std[c] as f64);
            }
        }
    }
    values
}

#[test]
fn fast_resampling_equals_the_plain_one() {
    let sample = noise(23, 19);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for case in 0..200 {
        let scaled = (rng.random_range(1..60), rng.random_range(1..60));
        let crop = (rng.random_range(1..40usize), rng.random_range(1..40usize));
        let mut start = |scaled: usize, crop: usize| {
            let slack = scaled as i64 - crop as i64;
            rng.random_range(slack.min(0)..=slack.max(0))
        };
        let start = (start(scaled.0, crop.0), start(scaled.1, crop.1));
        let flip = rng.random();
        let rows = CropSide::at(sample.height, scaled.0, start.0, crop.0, false);
        let columns = CropSide::at(sample.width, scaled.1, start.1, crop.1, flip);
        let mut out = vec![f32::NAN; 3 * crop.0 * crop.1];
        resample_image(&sample, &rows, &columns, &IMAGENET, &mut out);
        for (place, (&value, expected)) in out.iter().zip(reference(&sample, scaled, start, crop, flip)).enumerate() {
            assert!((value as f64 - expected).abs() < 1e-4, "case {case}, value {place}: {value}, not {expected}");
        }
    }
}

#[test]
fn image_and_mask_stay_together() {
    // Red is the column, green the row; the mask is one, then the other: after any change the
    // mask's pixel is the nearest to the image's source position.
    let by_column = sample(120, 90, |x, y| [x as u8, y as u8, 50], |x, _| x as u8);
    let by_row = sample(120, 90, |x, y| [x as u8, y as u8, 50], |_, y| y as u8);
    let augment = Augment { scale: (0.5, 2.0), flip: true, ..Augment::crops((64, 80), BYTES) };
    let (mut inside, mut outside) = (0, 0);
    for seed in 0..100 {
        for (c, sample) in [(0, &by_column), (1, &by_row)] {
            let (image, mask) = apply(&augment, sample, seed);
            for (place, &index) in mask.iter().enumerate() {
                let [value, blue] = [c, 2].map(|c| image[c * 64 * 80 + place]);
                if index == VOID {
                    outside += 1;
                    assert_eq!([value, blue], [0.0, 0.0], "seed {seed}, pixel {place}");
                } else {
                    inside += 1;
                    assert!((value - index as f32).abs() <= 0.501, "seed {seed}, pixel {place}: {value} and {index}");
                    assert!((blue - 50.0).abs() < 1e-3, "seed {seed}, pixel {place}: {blue}");
                }
            }
        }
    }
    assert!(inside > 100_000 && outside > 10_000, "both were seen: {inside}, {outside}");
}

#[test]
fn whole_photos_are_padded_to_the_right_and_below() {
    let sample = noise(5, 3);
    let mut out = vec![f32::NAN; 3 * 4 * 8];
    normalise_whole(&sample.image, 5, 3, &IMAGENET, 4, 8, &mut out);
    for c in 0..3 {
        for y in 0..4 {
            for x in 0..8 {
                let expected = if x < 5 && y < 3 {
                    (sample.image[3 * (y * 5 + x) + c] as f32 / 255.0 - IMAGENET.mean[c]) / IMAGENET.std[c]
                } else {
                    0.0
                };
                assert_eq!(out[(c * 4 + y) * 8 + x], expected, "channel {c}, x {x}, y {y}");
            }
        }
    }
}

/// Results of torchvision and OpenCV, from tests/reference/recipe.py.
fn fixture() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/reference/recipe.json")).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// Applies `change` to an image within a larger crop, whose other values must not change.
fn changed(image: &[f32], (height, width): (usize, usize), change: impl Fn(&mut Planes)) -> Vec<f32> {
    let (crop_height, crop_width) = (height + 3, width + 5);
    let mut crop = vec![7.0; 3 * crop_height * crop_width];
    let place = |c: usize, y: usize, x: usize| (c * crop_height + y + 2) * crop_width + x + 1;
    let places: Vec<usize> =
        (0..3 * height * width).map(|i| place(i / (height * width), i / width % height, i % width)).collect();
    places.iter().zip(image).for_each(|(&place, &value)| crop[place] = value);
    change(&mut Planes::new(&mut crop, crop_width, 2..2 + height, 1..1 + width));
    let result: Vec<f32> = places.iter().map(|&place| std::mem::replace(&mut crop[place], 7.0)).collect();
    assert!(crop.iter().all(|&value| value == 7.0), "values around the picture have changed");
    result
}

fn assert_close(got: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (place, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= bound, "{what}, value {place}: {got}, not {expected}");
    }
}

#[test]
fn colors_change_as_in_torchvision() {
    let reference = &fixture()["colors"];
    let image = numbers(&reference["image"]);
    let cases = reference["changes"].as_array().unwrap();
    assert_eq!(cases.len(), 12);
    for case in cases {
        let factor = case["factor"].as_f64().unwrap() as f32;
        let change = match case["name"].as_str().unwrap() {
            "brightness" => color::Change::Brightness(factor),
            "contrast" => color::Change::Contrast(factor),
            "saturation" => color::Change::Saturation(factor),
            _ => color::Change::Hue(factor),
        };
        let got = changed(&image, (6, 9), |planes| change.apply(planes));
        assert_close(&got, &numbers(&case["image"]), 2e-6, &format!("{change:?}"));
    }
}

#[test]
fn hues_turn_as_in_opencv() {
    let reference = &fixture()["hue_of_opencv"];
    let got = changed(&numbers(&reference["image"]), (6, 9), |planes| color::Change::Hue(0.2).apply(planes));
    // OpenCV computes hues in degrees in single precision.
    assert_close(&got, &numbers(&reference["turned"]), 2e-5, "hue");
}

#[test]
fn blurs_are_those_of_torchvision() {
    let reference = &fixture()["blurs"];
    let image = numbers(&reference["image"]);
    let cases = reference["blurs"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let sigma = case["sigma"].as_f64().unwrap() as f32;
        let got = changed(&image, (12, 15), |planes| blur::blur(planes, &blur::kernel(sigma)));
        assert_close(&got, &numbers(&case["image"]), 2e-6, &format!("sigma {sigma}"));
    }
    // Wider than the image: the border is reflected several times, and the mean stays about the
    // same.
    let got = changed(&image[..3 * 2 * 3], (2, 3), |planes| blur::blur(planes, &blur::kernel(9.0)));
    assert!(got.iter().all(|value| (0.0..=1.0).contains(value)), "{got:?}");
    let one = changed(&[0.25; 3], (1, 1), |planes| blur::blur(planes, &blur::kernel(2.0)));
    assert_close(&one, &[0.25; 3], 1e-6, "one pixel");
}

#[test]
fn jitter_draws_what_was_asked_for_in_any_order() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let jitter = Jitter { brightness: 0.3, contrast: 0.0, saturation: 1.0, hue: 0.1 };
    let mut first_is_hue = 0;
    for _ in 0..600 {
        let changes = jitter.draw(&mut rng);
        assert_eq!(changes.len(), 3, "contrast stays");
        for change in &changes {
            match change {
                color::Change::Brightness(factor) => assert!((0.7..=1.3).contains(factor)),
                color::Change::Contrast(_) => panic!("contrast"),
                color::Change::Saturation(factor) => assert!((0.0..=2.0).contains(factor)),
                color::Change::Hue(turn) => assert!((-0.1..=0.1).contains(turn)),
            }
        }
        first_is_hue += usize::from(matches!(changes[0], color::Change::Hue(_)));
    }
    // 200 on average, with a standard deviation of 12.
    assert!((150..250).contains(&first_is_hue), "{first_is_hue}");
    assert!(Jitter::default().draw(&mut rng).is_empty());
}

#[test]
fn colors_leave_masks_places_and_padding_alone() {
    let sample = noise(40, 30);
    let plain = Augment { scale: (0.5, 2.0), flip: true, ..Augment::crops((32, 48), IMAGENET) };
    let jitter = Jitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };
    let colored = Augment { jitter, blur: 2.0, ..plain };
    let neutral = Augment { jitter: Jitter { brightness: 1e-7, ..Jitter::default() }, ..plain };
    let mut changed = 0;
    for seed in 0..50 {
        let ((image, mask), (other, same)) = (apply(&plain, &sample, seed), apply(&colored, &sample, seed));
        assert_eq!(mask, same, "seed {seed}");
        for (place, (&value, &other)) in image.iter().zip(&other).enumerate() {
            if mask[place % (32 * 48)] == VOID {
                assert_eq!((value, other), (0.0, 0.0), "seed {seed}, value {place}");
            }
        }
        changed += usize::from(image != other);
        // Without a change, the long path gives the same as the short one.
        assert_close(&apply(&neutral, &sample, seed).0, &image, 1e-4, &format!("seed {seed}"));
    }
    assert_eq!(changed, 50);
}

#[test]
fn crops_of_one_class_are_avoided() {
    // Class 1 is a strip at the right; a third of the crops do not contain it.
    let sample = sample(64, 8, |_, _| [0; 3], |x, _| if x >= 40 { 1 } else { 0 });
    let limited = |limit| Augment { max_class_share: limit, ..Augment::crops((8, 16), BYTES) };
    let share = |mask: &[u8]| {
        let ones = mask.iter().filter(|&&index| index == 1).count();
        ones.max(mask.len() - ones) as f32 / mask.len() as f32
    };
    let many = |limit: f32| (0..400).filter(|&seed| share(&apply(&limited(limit), &sample, seed).1) > 0.75).count();
    // 49 positions, of which 9 divide the classes within 4 : 12 pixels; all ten tries fail once in
    // (40 / 49) ^ 10 = 0.13.
    assert!(many(1.0) > 300, "{}", many(1.0));
    let left = many(0.75);
    assert!((25..90).contains(&left), "{left} of 400, 52 on average");
    assert_eq!(apply(&limited(1.0), &sample, 5), {
        let plain = Augment::crops((8, 16), BYTES);
        apply(&plain, &sample, 5)
    });
}

#[test]
fn shares_of_classes_leave_void_out() {
    let mask = |counts: &[(u8, usize)]| -> Vec<u8> {
        counts.iter().flat_map(|&(index, count)| std::iter::repeat_n(index, count)).collect()
    };
    for (counts, limit, mixed) in [
        (vec![(0, 3), (1, 1)], 0.75, true),
        (vec![(0, 4), (1, 1)], 0.75, false),
        (vec![(0, 3), (1, 1), (VOID, 50)], 0.75, true),
        (vec![(0, 5), (VOID, 5)], 0.75, false),
        (vec![(VOID, 5)], 0.75, false),
        (vec![(0, 5)], 1.0, true),
        (vec![(0, 1), (254, 1)], 0.5, true),
    ] {
        assert_eq!(is_mixed(&mask(&counts), limit), mixed, "{counts:?}, {limit}");
    }
}
