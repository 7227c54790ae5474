//! The keyword arguments of a segmenter as options.

use std::{path::PathBuf, time::Duration};

use fcn::{ChannelOrder, Options, SizeMode, TensorLayout};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyAny, PyDict},
};

use crate::error::{invalid, raise};

/// The options that the keyword arguments set. None means the default.
pub(crate) fn parse(keywords: &Bound<'_, PyDict>) -> PyResult<Options> {
    let mut options = Options::default();
    for (name, value) in keywords {
        let name: String = name.extract()?;
        if value.is_none() {
            continue;
        }
        set(&mut options, &name, &value).map_err(|error| {
            let py = keywords.py();
            if !error.is_instance_of::<PyTypeError>(py) || error.value(py).to_string().contains("Segmenter()") {
                return error;
            }
            PyTypeError::new_err(format!("the option {name} cannot be {value}: {}", error.value(py)))
        })?;
    }
    Ok(options)
}

fn set(options: &mut Options, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match name {
        "provider" => options.provider = value.extract::<String>()?.parse().map_err(raise)?,
        "device" => options.device = value.extract()?,
        "openvino_device" => options.openvino_device = Some(value.extract()?),
        "precision" => options.precision = value.extract::<String>()?.parse().map_err(raise)?,
        "threads" => options.threads = value.extract()?,
        "sessions" => options.sessions = value.extract()?,
        "timeout" => options.timeout = Some(seconds(value.extract()?)?),
        "gpu_memory_limit" => options.gpu_memory_limit = value.extract()?,
        "runtime_library" => options.runtime_library = Some(value.extract::<PathBuf>()?),
        "cache_dir" => options.cache = Some(value.extract::<PathBuf>()?),
        "size_mode" => options.size_mode = Some(size_mode(value)?),
        "native_side" => options.native_side = Some(value.extract()?),
        "mean" => options.mean = Some(value.extract()?),
        "std" => options.std = Some(value.extract()?),
        "class_names" => options.class_names = Some(value.extract()?),
        "palette" => options.palette = Some(value.extract::<String>()?.parse().map_err(raise)?),
        "scale" => options.scale = Some(value.extract()?),
        "channel_order" => {
            let orders = [("rgb", ChannelOrder::Rgb), ("bgr", ChannelOrder::Bgr)];
            options.channel_order = Some(choose(name, &value.extract::<String>()?, &orders)?);
        }
        "input_layout" => options.input_layout = Some(layout(name, value)?),
        "output" => options.output = Some(value.extract()?),
        "output_layout" => options.output_layout = Some(layout(name, value)?),
        "output_values" => {
            let values = [("logits", false), ("probabilities", true)];
            options.probabilities = Some(choose(name, &value.extract::<String>()?, &values)?);
        }
        "multilabel" => options.multilabel = Some(value.extract()?),
        _ => {
            return Err(PyTypeError::new_err(format!("Segmenter() got an unexpected keyword argument '{name}'")));
        }
    }
    Ok(())
}

/// A time in seconds.
pub(crate) fn seconds(time: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(time)
        .map_err(|_| invalid(format!("{time} seconds are not a time; it must be 0 or more and finite")))
}

/// The value with this name.
pub(crate) fn choose<T: Copy>(what: &str, name: &str, all: &[(&str, T)]) -> PyResult<T> {
    let found = all.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|(known, _)| format!("'{known}'")).collect();
        invalid(format!("{what} is '{}'; it must be {}", fcn::plain(name), known.join(" or ")))
    })
}

fn layout(name: &str, value: &Bound<'_, PyAny>) -> PyResult<TensorLayout> {
    let layouts = [("nchw", TensorLayout::Nchw), ("nhwc", TensorLayout::Nhwc)];
    choose(name, &value.extract::<String>()?, &layouts)
}

fn size_mode(value: &Bound<'_, PyAny>) -> PyResult<SizeMode> {
    if let Ok(name) = value.extract::<String>() {
        return choose("size_mode", &name, &[("auto", SizeMode::Auto), ("pad", SizeMode::Pad)]);
    }
    if let Ok((name, pixels)) = value.extract::<(String, u32)>()
        && name == "short_side"
    {
        return Ok(SizeMode::ShortSide(pixels));
    }
    if let Ok((name, width, height)) = value.extract::<(String, u32, u32)>()
        && name == "resize"
    {
        return Ok(SizeMode::Resize { width, height });
    }
    if let Ok((name, width, height, overlap)) = value.extract::<(String, u32, u32, u32)>()
        && name == "tile"
    {
        return Ok(SizeMode::Tile { width, height, overlap });
    }
    Err(invalid(format!(
        "size_mode is {value}; it must be 'auto', 'pad', ('resize', width, height), ('short_side', pixels) or \
         ('tile', width, height, overlap)"
    )))
}
