//! Parameter initialisation.

use tch::{Device, Kind, Tensor};

/// He et al. 2015, "Delving Deep into Rectifiers", in torchvision's form: normal, variance 2 / (out
/// x k x k / groups).
pub fn he_normal(size: [i64; 4], groups: i64, device: Device) -> Tensor {
    let fan_out = (size[0] * size[2] * size[3] / groups) as f64;
    Tensor::randn(size, (Kind::Float, device)) * (2.0 / fan_out).sqrt()
}

/// Glorot and Bengio 2010: uniform within the square root of 6 / (fan in + fan out).
pub fn xavier_uniform(size: [i64; 4], device: Device) -> Tensor {
    let bound = (6.0 / ((size[0] + size[1]) * size[2] * size[3]) as f64).sqrt();
    Tensor::empty(size, (Kind::Float, device)).uniform_(-bound, bound)
}

/// The kernel with which a transposed convolution interpolates bilinearly (Long et al. 2015,
/// section 3.3; `bilinear_kernel` in d2l 13.11): channels x channels x k x k, zero for different
/// input and output channels.
pub fn bilinear_kernel(channels: i64, kernel: i64, device: Device) -> Tensor {
    let factor = (kernel + 1) / 2;
    let center = if kernel % 2 == 1 { factor as f64 - 1.0 } else { factor as f64 - 0.5 };
    let line: Vec<f32> = (0..kernel).map(|at| (1.0 - (at as f64 - center).abs() / factor as f64) as f32).collect();
    let line = Tensor::from_slice(&line).to_device(device);
    let tent = line.unsqueeze(1) * line.unsqueeze(0);
    let identity = Tensor::eye(channels, (Kind::Float, device));
    identity.view([channels, channels, 1, 1]) * tent
}
