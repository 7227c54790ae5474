//! Reads state dicts written by PyTorch's `torch.save`: zip files, and the format before PyTorch
//! 1.6. Little-endian only, as on all current machines.
//!
//! Such files contain pickles, which Python reads by executing their instructions. Nothing is
//! executed here: a pickle that needs more than a state dict does is an error.

mod pickle;
#[cfg(test)]
mod tests;
mod zip;

use std::collections::{BTreeMap, HashMap};

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use pickle::{Input, Pickle, PickleValue, Storage, TensorView};
use zip::Archive;

/// The start of a file in the old format: the pickle of its magic number.
const OLD_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";
/// The only version of the old format.
const OLD_VERSION: i64 = 1001;
/// The keys under which training scripts store a state dict among other things.
const NESTED: [&str; 2] = ["state_dict", "model"];
/// The most tensor bytes per byte of the file. Tensors may share a storage, but without a limit a
/// small file could fill the memory.
const LARGEST_SHARING: usize = 4;

/// The tensors in a file's bytes by name. Entries of the state dict that are not tensors are
/// skipped.
pub(super) fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let (pickle, storages) = if bytes.starts_with(zip::MAGIC) {
        zip_format(bytes)?
    } else if bytes.starts_with(OLD_MAGIC) {
        old_format(&bytes[OLD_MAGIC.len()..])?
    } else {
        return Err(Error::new("it is not a file that torch.save wrote"));
    };
    let mut tensors = BTreeMap::new();
    let mut room = bytes.len().saturating_mul(LARGEST_SHARING);
    for pair in state_dict(&pickle)?.chunks_exact(2) {
        let (PickleValue::Text(name), PickleValue::Tensor(index)) = (pair[0], pair[1]) else { continue };
        let view = &pickle.tensors[index];
        let kind = pickle.storages[view.storage].kind;
        let values = gather(view, storages[view.storage], kind, room);
        let mut values = values.map_err(|error| Error::new(format!("{name}: {error}")))?;
        room -= values.len();
        if kind == Kind::Bool {
            // Other values of a C++ bool are undefined behaviour.
            values.iter_mut().for_each(|value| *value = u8::from(*value != 0));
        }
        let size: Vec<i64> = view.size.iter().map(|side| *side as i64).collect();
        tensors.insert(name.to_owned(), Tensor::f_from_data_size(&values, &size, kind)?);
    }
    if tensors.is_empty() {
        Err(Error::new("it holds no tensors under names; save a network's state_dict()"))
    } else {
        Ok(tensors)
    }
}

/// A pickle, and the bytes of each of its storages.
type Parts<'a> = (Pickle<'a>, Vec<&'a [u8]>);

/// `NAME/data.pkl`, and one file `NAME/data/KEY` per storage.
fn zip_format(bytes: &[u8]) -> Result<Parts<'_>> {
    let archive = Archive::open(bytes)?;
    let Some(folder) = archive.names().find_map(|name| name.strip_suffix("/data.pkl")) else {
        return Err(Error::new("it is a zip file without data.pkl, so not one that torch.save wrote"));
    };
    let order = archive.find(&format!("{folder}/byteorder"))?;
    if order.is_some_and(|order| order != b"little") {
        return Err(Error::new("it is big-endian; save it again on a little-endian machine"));
    }
    let read = |name: String| archive.find(&name)?.ok_or_else(|| Error::new(format!("it lacks its part {name}")));
    let pickle = pickle::read(&mut Input::new(read(format!("{folder}/data.pkl"))?))?;
    let storages = pickle.storages.iter().map(|storage| {
        let data = read(format!("{folder}/data/{}", storage.key))?;
        if storage.bytes() == Some(data.len()) {
            Ok(data)
        } else {
            Err(Error::new(format!(
                "its storage {} has {} bytes where {} numbers of type {:?} are said to be",
                storage.key,
                data.len(),
                storage.len,
                storage.kind
            )))
        }
    });
    let storages = storages.collect::<Result<Vec<_>>>()?;
    Ok((pickle, storages))
}

/// Pickles of the version, the machine's properties, the state dict and the storages' keys; then
/// the storages in the order of the keys, each as its length and its numbers.
fn old_format(bytes: &[u8]) -> Result<Parts<'_>> {
    let input = &mut Input::new(bytes);
    if pickle::read(input)?.root != PickleValue::Int(OLD_VERSION) {
        return Err(Error::new(format!("its version is not {OLD_VERSION}, the only one known")));
    }
    let machine = pickle::read(input)?;
    if machine.get(machine.root, "little_endian") != Some(PickleValue::Bool(true)) {
        return Err(Error::new("it does not say that it is little-endian; save it again on a little-endian machine"));
    }
    let pickle = pickle::read(input)?;
    let keys = pickle::read(input)?;
    let by_key: HashMap<&str, &Storage> = pickle.storages.iter().map(|storage| (storage.key, storage)).collect();
    let mut data = HashMap::new();
    for key in keys.list(keys.root).ok_or_else(|| Error::new("its list of storages is missing"))? {
        let PickleValue::Text(key) = key else { return Err(Error::new("its list of storages is damaged")) };
        let storage = by_key.get(key).ok_or_else(|| Error::new(format!("no tensor uses its storage {key}")))?;
        let len = input.u64()?;
        let bytes = storage.bytes().filter(|_| len == storage.len as u64).ok_or_else(|| {
            Error::new(format!("its storage {key} has {len} numbers, where {} should be", storage.len))
        })?;
        data.insert(*key, input.take(bytes)?);
    }
    let storages = pickle.storages.iter().map(|storage| match data.get(storage.key) {
        Some(data) if storage.bytes() == Some(data.len()) => Ok(*data),
        _ => Err(Error::new(format!("it lacks its storage {}", storage.key))),
    });
    let storages = storages.collect::<Result<Vec<_>>>()?;
    Ok((pickle, storages))
}

/// Alternating keys and values of the state dict.
fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<&'p [PickleValue<'a>]> {
    let nested = NESTED.iter().find_map(|key| pickle.dict(pickle.get(pickle.root, key)?));
    let missing = || Error::new("it is not a state dict; save a network's state_dict()");
    nested.or_else(|| pickle.dict(pickle.root)).ok_or_else(missing)
}

/// A tensor's numbers, row by row, even if a view has its storage's numbers in another order. At
/// most `room` bytes.
fn gather(view: &TensorView, storage: &[u8], kind: Kind, room: usize) -> Result<Vec<u8>> {
    let width = kind.elt_size_in_bytes();
    let outside = || {
        Error::new(format!(
            "size {:?}, strides {:?} and offset {} reach beyond its storage of {} numbers",
            view.size,
            view.strides,
            view.offset,
            storage.len() / width
        ))
    };
    if view.size.contains(&0) {
        return Ok(Vec::new());
    }
    let count = view.size.iter().try_fold(1usize, |count, side| count.checked_mul(*side)).ok_or_else(outside)?;
    // A side of length 1 is never stepped along, so its stride is irrelevant.
    let sides: Vec<(usize, usize)> =
        view.size.iter().copied().zip(view.strides.iter().copied()).filter(|(side, _)| *side > 1).collect();
    let last =
        sides.iter().try_fold(view.offset, |at, (side, stride)| at.checked_add((side - 1).checked_mul(*stride)?));
    if last.is_none_or(|last| last >= storage.len() / width) {
        return Err(outside());
    }
    // An expanded tensor (stride 0) may be larger than its storage, and than the memory.
    if count > room / width {
        return Err(Error::new(format!("{count} numbers are more than a file of this size can be meant to hold")));
    }
    let mut values = Vec::with_capacity(count * width);
    let mut place = vec![0; sides.len()];
    let mut at = view.offset;
    for _ in 0..count {
        values.extend_from_slice(&storage[at * width..][..width]);
        for (place, &(side, stride)) in place.iter_mut().zip(&sides).rev() {
            *place += 1;
            at += stride;
            if *place < side {
                break;
            }
            at -= side * stride;
            *place = 0;
        }
    }
    Ok(values)
}
