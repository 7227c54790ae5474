//! External data: tensors stored in files next to the model, the default of torch.onnx.export and
//! others. libfcn reads these files itself; ONNX Runtime never opens them.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use prost::bytes::Bytes;

use super::{
    types::{ModelProto, TensorProto, tensor_proto::DataType},
    validate::{self, each_tensor, is_external},
};
use crate::{Error, Result, error::plain, file, memory};

/// A model, and the bytes that its tensors refer to.
pub(crate) type Loaded = (Arc<[u8]>, ModelProto);

/// How often tensors may read the same bytes, on average.
const MAX_READS: u64 = 2;

/// The location of a tensor.
struct TensorLocation {
    tensor: String,
    /// A file name in the model's folder.
    location: String,
    offset: u64,
    length: usize,
}

/// Reads a model from memory. All tensors must be inside `bytes`.
pub(crate) fn from_memory(bytes: &[u8]) -> Result<Loaded> {
    memory::check_available(bytes.len(), "a copy of the model")?;
    let bytes: Arc<[u8]> = Arc::from(bytes);
    let model = validate::parse_shared(Bytes::from_owner(Arc::clone(&bytes)))?;
    Ok((bytes, model))
}

/// Reads a model from a file, with tensors from regular files in its folder; at most `limit` bytes
/// in total.
pub(crate) fn from_file(path: &Path, limit: u64) -> Result<Loaded> {
    let bytes = file::read(path, limit).map_err(|error| match error {
        // Name the kind of file.
        Error::Io(error) => Error::Io(error.prefixed("the model")),
        other => other,
    })?;
    let mut model = validate::decode(Bytes::from_owner(Arc::clone(&bytes)))?;
    let mut places = Vec::new();
    each_tensor(&mut model, &mut |tensor| {
        if is_external(tensor) {
            places.push(place(tensor)?);
        }
        Ok(())
    })?;
    if places.is_empty() {
        return Ok((bytes, model));
    }
    // The tensors are appended to the model in one allocation, so that other modules need not
    // distinguish them.
    let total = places.iter().try_fold(bytes.len(), |total, place| total.checked_add(place.length));
    let total = total.filter(|&total| total as u64 <= limit).ok_or_else(|| {
        Error::Model(format!("the model and its external data have more than {limit} bytes, which is the limit"))
    })?;
    // The parent of a bare file name is the current folder.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unreadable = |place: &TensorLocation, error: io::Error| {
        let TensorLocation { tensor, location, .. } = place;
        let (tensor, location, text) = (plain(tensor), plain(location), plain(&error.to_string()));
        let message = format!("'{}': tensor '{tensor}' cannot be read from '{location}': {text}", path.display());
        Error::io(message, error)
    };
    let mut sizes = HashMap::new();
    for place in &places {
        let size = match sizes.entry(&place.location[..]) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(entry) => {
                let opened = file::open_beside(folder, &place.location);
                entry.insert(opened.map_err(|error| unreadable(place, error))?.1)
            }
        };
        if place.offset.checked_add(place.length as u64).is_none_or(|end| end > *size) {
            return Err(Error::Model(format!(
                "tensor '{}' needs {} bytes from byte {} of '{}', which has {size} bytes",
                place.tensor, place.length, place.offset, place.location
            )));
        }
    }
    let (stored, read) = (sizes.values().sum::<u64>(), (total - bytes.len()) as u64);
    if read > stored.saturating_mul(MAX_READS) {
        return Err(Error::Model(format!(
            "the model's tensors read {read} bytes of external data from files of {stored} bytes; \
             at most {MAX_READS} times their size is supported, so save the model again with \
             separate data for each tensor"
        )));
    }
    let mut content = file::zeros(total)?;
    let room = Arc::get_mut(&mut content).ok_or_else(|| Error::Internal("the bytes have just been made".into()))?;
    let (start, mut rest) = room.split_at_mut(bytes.len());
    start.copy_from_slice(&bytes);
    let start = start.len();
    drop((bytes, model));
    let mut open: Option<(&str, File)> = None;
    for place in &places {
        let (_, file) = match open.take_if(|(name, ..)| *name == place.location) {
            Some(file) => open.insert(file),
            None => {
                let opened = file::open_beside(folder, &place.location);
                open.insert((&place.location, opened.map_err(|error| unreadable(place, error))?.0))
            }
        };
        let (tensor, remaining) = rest.split_at_mut(place.length);
        file.read_exact_at(tensor, place.offset).map_err(|error| unreadable(place, error))?;
        rest = remaining;
    }
    let all = Bytes::from_owner(Arc::clone(&content));
    let mut model = validate::decode(all.slice(..start))?;
    let (mut places, mut at) = (places.into_iter(), start);
    each_tensor(&mut model, &mut |tensor| {
        if is_external(tensor) {
            let length = places.next().map_or(0, |place| place.length);
            tensor.raw_data = Some(all.slice(at..at + length));
            (tensor.data_location, tensor.external_data) = (None, Vec::new());
            at += length;
        }
        Ok(())
    })?;
    Ok((content, model))
}

/// The location of a tensor with external data.
fn place(tensor: &TensorProto) -> Result<TensorLocation> {
    let name = tensor.name();
    let wrong = |what: String| Err(Error::Model(format!("tensor '{name}' {what}")));
    let (mut location, mut offset, mut length) = (None, 0, None);
    for entry in &tensor.external_data {
        let (key, value) = (entry.key(), entry.value());
        match (key, value.parse::<u64>()) {
            ("location", _) => location = Some(value),
            ("offset", Ok(number)) => offset = number,
            ("length", Ok(number)) => length = Some(number),
            ("offset" | "length", Err(_)) => {
                return wrong(format!("has the {key} '{value}', which is not a number of bytes"));
            }
            // The other entry that ONNX defines; it does not affect the location.
            ("checksum", _) => {}
            _ => return wrong(format!("has external data with the unknown entry '{key}'")),
        }
    }
    let Some(location) = location else { return wrong("has external data, but no file is named".into()) };
    if location.contains(['/', '\\', '\0']) || matches!(location, "" | "." | "..") {
        return wrong(format!(
            "is stored in '{location}'; only files in the model's own folder are read, named without a path"
        ));
    }
    let Some(size) = size(tensor) else {
        return wrong(format!(
            "has external data, but its type {} and shape {:?} have no size",
            tensor.data_type(),
            tensor.dims
        ));
    };
    if let Some(length) = length.filter(|&length| length != size as u64) {
        return wrong(format!("has {length} bytes in '{location}', but its type and shape need {size}"));
    }
    Ok(TensorLocation { tensor: name.to_owned(), location: location.to_owned(), offset, length: size })
}

/// The size of a tensor's values in bytes.
fn size(tensor: &TensorProto) -> Option<usize> {
    use DataType::*;
    let bits = match DataType::try_from(tensor.data_type()).ok()? {
        Uint2 | Int2 => 2,
        Uint4 | Int4 | Float4e2m1 => 4,
        Uint8 | Int8 | Bool | Float8e4m3fn | Float8e4m3fnuz | Float8e5m2 | Float8e5m2fnuz | Float8e8m0 => 8,
        Uint16 | Int16 | Float16 | Bfloat16 => 16,
        Float | Int32 | Uint32 => 32,
        Double | Int64 | Uint64 | Complex64 => 64,
        Complex128 => 128,
        Undefined | String | Float6e2m3 | Float6e3m2 => return None,
    };
    let count = tensor.dims.iter().try_fold(1usize, |count, &side| count.checked_mul(usize::try_from(side).ok()?))?;
    Some(count.checked_mul(bits)?.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            build, encode,
            types::{GraphProto, StringStringEntryProto, tensor_proto::DataLocation},
        },
        *,
    };

    #[test]
    fn a_model_and_the_files_beside_it_have_a_limit_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(folder.path().join("weights.bin"), [0; 20]).unwrap();
        let location = StringStringEntryProto { key: Some("location".into()), value: Some("weights.bin".into()) };
        let away = TensorProto {
            raw_data: None,
            data_location: Some(DataLocation::External as i32),
            external_data: vec![location],
            ..build::floats("weight", &[3], &[])
        };
        for (tensor, beside) in [(build::floats("weight", &[3], &[0.0; 3]), 0), (away, 12)] {
            let graph = GraphProto {
                node: vec![build::node("Add", &["image", "weight"], "scores", vec![])],
                output: vec![build::value("scores", DataType::Float, &[])],
                initializer: vec![tensor],
                ..GraphProto::default()
            };
            let bytes = encode(&build::model(graph, None)).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let all = bytes.len() as u64 + beside;
            let (content, model) = from_file(&path, all).unwrap();
            assert_eq!((content.len() as u64, model.graph.unwrap().initializer[0].raw_data().len()), (all, 12));
            let error = from_file(&path, all - 1).unwrap_err();
            match beside {
                0 => assert!(
                    matches!(&error, Error::Io(text) if text.to_string().contains(&format!("has {all} bytes; at most {}", all - 1))),
                    "{error:?}"
                ),
                _ => assert!(
                    matches!(&error, Error::Model(text) if text.contains(&format!("more than {} bytes", all - 1))),
                    "{error:?}"
                ),
            }
        }
    }

    #[test]
    fn values_take_as_many_bytes_as_their_type_says() {
        use DataType::*;
        for (element, dims, bytes) in [
            (Float, &[2, 3][..], Some(24)),
            (Float, &[], Some(4)),
            (Float, &[2, 0], Some(0)),
            (Float, &[-1], None),
            (Float, &[i64::MAX, i64::MAX], None),
            (Float, &[i64::MAX], None),
            (Float16, &[3], Some(6)),
            (Bfloat16, &[3], Some(6)),
            (Double, &[3], Some(24)),
            (Complex64, &[3], Some(24)),
            (Complex128, &[3], Some(48)),
            (Int64, &[3], Some(24)),
            (Uint64, &[3], Some(24)),
            (Int32, &[3], Some(12)),
            (Uint32, &[3], Some(12)),
            (Int16, &[3], Some(6)),
            (Uint16, &[3], Some(6)),
            (Int8, &[3], Some(3)),
            (Uint8, &[3], Some(3)),
            (Bool, &[3], Some(3)),
            (Float8e4m3fn, &[3], Some(3)),
            // Halves and quarters of a byte, of which the last one is filled up.
            (Int4, &[3], Some(2)),
            (Uint4, &[4], Some(2)),
            (Float4e2m1, &[5], Some(3)),
            (Int2, &[4], Some(1)),
            (Uint2, &[5], Some(2)),
            (String, &[3], None),
            (Undefined, &[3], None),
        ] {
            let tensor = TensorProto { dims: dims.to_vec(), data_type: Some(element as i32), ..TensorProto::default() };
            assert_eq!(size(&tensor), bytes, "{element:?}, {dims:?}");
        }
        assert_eq!(size(&TensorProto { data_type: Some(1000), ..TensorProto::default() }), None);
    }
}
