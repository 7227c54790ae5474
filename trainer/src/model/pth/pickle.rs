//! The part of Python's pickle format (protocol 2,
//! <https://docs.python.org/3/library/pickletools.html>) used by state dicts. Objects are records
//! in lists, referred to by their index, so nothing is recursive, whatever a file contains.

use std::collections::HashMap;

use tch::Kind;

use crate::error::{Error, Result};

/// The classes and functions that a state dict may refer to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Global {
    OrderedDict,
    /// `_rebuild_tensor` and its second version, whose extra arguments do not matter here.
    RebuildTensor,
    RebuildParameter,
    Storage(Kind),
}

const GLOBALS: [(&str, &str, Global); 14] = [
    ("collections", "OrderedDict", Global::OrderedDict),
    ("torch._utils", "_rebuild_tensor", Global::RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v2", Global::RebuildTensor),
    ("torch._utils", "_rebuild_parameter", Global::RebuildParameter),
    ("torch", "FloatStorage", Global::Storage(Kind::Float)),
    ("torch", "HalfStorage", Global::Storage(Kind::Half)),
    ("torch", "BFloat16Storage", Global::Storage(Kind::BFloat16)),
    ("torch", "DoubleStorage", Global::Storage(Kind::Double)),
    ("torch", "LongStorage", Global::Storage(Kind::Int64)),
    ("torch", "IntStorage", Global::Storage(Kind::Int)),
    ("torch", "ShortStorage", Global::Storage(Kind::Int16)),
    ("torch", "CharStorage", Global::Storage(Kind::Int8)),
    ("torch", "ByteStorage", Global::Storage(Kind::Uint8)),
    ("torch", "BoolStorage", Global::Storage(Kind::Bool)),
];

/// An object. Numbers are indices into the [`Pickle`]'s lists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum PickleValue<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An object whose value is irrelevant.
    Float,
    Text(&'a str),
    Global(Global),
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(usize),
    Tensor(usize),
}

/// The location of tensors' numbers.
#[derive(Debug)]
pub(super) struct Storage<'a> {
    pub(super) kind: Kind,
    pub(super) key: &'a str,
    /// The count of numbers.
    pub(super) len: usize,
}

impl Storage<'_> {
    /// Its size; `None` if it exceeds any memory.
    pub(super) fn bytes(&self) -> Option<usize> {
        self.len.checked_mul(self.kind.elt_size_in_bytes())
    }
}

/// A tensor as strides into a storage, counted in numbers.
#[derive(Debug)]
pub(super) struct TensorView {
    pub(super) storage: usize,
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    /// One per side.
    pub(super) strides: Vec<usize>,
}

/// A pickle's contents.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    pub(super) root: PickleValue<'a>,
    /// The items of tuples and lists; alternating keys and values of dicts.
    items: Vec<Vec<PickleValue<'a>>>,
    pub(super) storages: Vec<Storage<'a>>,
    pub(super) tensors: Vec<TensorView>,
}

impl<'a> Pickle<'a> {
    /// Alternating keys and values of a dict.
    pub(super) fn dict(&self, value: PickleValue) -> Option<&[PickleValue<'a>]> {
        let PickleValue::Dict(index) = value else { return None };
        Some(&self.items[index])
    }

    /// The items of a list.
    pub(super) fn list(&self, value: PickleValue) -> Option<&[PickleValue<'a>]> {
        let PickleValue::List(index) = value else { return None };
        Some(&self.items[index])
    }

    /// A dict's value for a key.
    pub(super) fn get(&self, dict: PickleValue, key: &str) -> Option<PickleValue<'a>> {
        self.dict(dict)?.chunks_exact(2).find(|pair| pair[0] == PickleValue::Text(key)).map(|pair| pair[1])
    }
}

/// Bytes, read from front to back.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(|| Error::new("it was cut short"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.number(8)
    }

    /// A little-endian number of `width` bytes, at most 8.
    fn number(&mut self, width: usize) -> Result<u64> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn text(&mut self, length: u64) -> Result<&'a str> {
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        std::str::from_utf8(bytes).map_err(|_| Error::new("it holds a text that is not UTF-8"))
    }

    fn line(&mut self) -> Result<&'a str> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n').unwrap_or(self.bytes.len());
        let line = self.text(end as u64)?;
        self.take(1)?;
        Ok(line)
    }
}

/// Reads one pickle.
pub(super) fn read<'a>(input: &mut Input<'a>) -> Result<Pickle<'a>> {
    let pickle = Pickle { root: PickleValue::None, items: Vec::new(), storages: Vec::new(), tensors: Vec::new() };
    let mut machine = Machine { pickle, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    while machine.step(input)? {}
    machine.pickle.root = machine.pop()?;
    Ok(machine.pickle)
}

struct Machine<'a> {
    pickle: Pickle<'a>,
    stack: Vec<PickleValue<'a>>,
    /// Heights of the stack at marks.
    marks: Vec<usize>,
    memo: HashMap<u64, PickleValue<'a>>,
}

impl<'a> Machine<'a> {
    /// Executes one instruction; `false` after the last one.
    fn step(&mut self, input: &mut Input<'a>) -> Result<bool> {
        let value = match input.take(1)?[0] {
            b'.' => return Ok(false),
            0x80 => return input.take(1).map(|_| true),
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(true);
            }
            b'q' => return self.remember(input.number(1)?),
            b'r' => return self.remember(input.number(4)?),
            code @ (b'a' | b'e' | b's' | b'u') => return self.fill(code),
            b'b' => return self.build(),
            b'h' => self.recall(input.number(1)?)?,
            b'j' => self.recall(input.number(4)?)?,
            b'N' => PickleValue::None,
            0x88 => PickleValue::Bool(true),
            0x89 => PickleValue::Bool(false),
            b'K' => PickleValue::Int(input.number(1)? as i64),
            b'M' => PickleValue::Int(input.number(2)? as i64),
            b'J' => PickleValue::Int(i64::from(input.number(4)? as u32 as i32)),
            0x8a => long(input)?,
            b'G' => input.take(8).map(|_| PickleValue::Float)?,
            b'U' => {
                let length = input.number(1)?;
                PickleValue::Text(input.text(length)?)
            }
            b'X' => {
                let length = input.number(4)?;
                PickleValue::Text(input.text(length)?)
            }
            b'c' => PickleValue::Global(global(input.line()?, input.line()?)?),
            b')' => PickleValue::Tuple(self.new_items(Vec::new())),
            b']' => PickleValue::List(self.new_items(Vec::new())),
            b'}' => PickleValue::Dict(self.new_items(Vec::new())),
            b't' => {
                let items = self.pop_mark()?;
                PickleValue::Tuple(self.new_items(items))
            }
            code @ 0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(code - 0x84)).ok_or_else(damaged)?;
                let items = self.stack.split_off(start);
                PickleValue::Tuple(self.new_items(items))
            }
            b'Q' => self.storage()?,
            b'R' => self.call()?,
            code => {
                return Err(Error::new(format!(
                    "it holds the pickle instruction {code:#04x}, which no state dict needs"
                )));
            }
        };
        self.stack.push(value);
        Ok(true)
    }

    fn new_items(&mut self, items: Vec<PickleValue<'a>>) -> usize {
        self.pickle.items.push(items);
        self.pickle.items.len() - 1
    }

    fn pop(&mut self) -> Result<PickleValue<'a>> {
        self.stack.pop().ok_or_else(damaged)
    }

    /// What was pushed since the last mark.
    fn pop_mark(&mut self) -> Result<Vec<PickleValue<'a>>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or_else(damaged)?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, key: u64) -> Result<bool> {
        let value = *self.stack.last().ok_or_else(damaged)?;
        self.memo.insert(key, value);
        Ok(true)
    }

    fn recall(&self, key: u64) -> Result<PickleValue<'a>> {
        self.memo.get(&key).copied().ok_or_else(damaged)
    }

    /// Appends what lies above the list or dict on the stack: one item, one pair, or everything
    /// since the last mark.
    fn fill(&mut self, code: u8) -> Result<bool> {
        let new = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_mark()?,
        };
        match (code, self.stack.last()) {
            (b'a' | b'e', Some(PickleValue::List(index))) => self.pickle.items[*index].extend(new),
            (b's' | b'u', Some(PickleValue::Dict(index))) if new.len().is_multiple_of(2) => {
                self.pickle.items[*index].extend(new);
            }
            _ => return Err(damaged()),
        }
        Ok(true)
    }

    /// Sets a dict's attributes: a state dict's contain the versions of its modules, which do not
    /// matter here.
    fn build(&mut self) -> Result<bool> {
        let attributes = self.pop()?;
        match (self.stack.last(), attributes) {
            (Some(PickleValue::Dict(_)), PickleValue::Dict(_)) => Ok(true),
            _ => Err(Error::new("it gives attributes to something other than a dict, which no state dict needs")),
        }
    }

    /// A storage: ("storage", type, key, device, length), in the old format followed by None for
    /// "all of it".
    fn storage(&mut self) -> Result<PickleValue<'a>> {
        let reference = self.pop()?;
        let (parts, whole) = self.tuple(reference)?.split_at_checked(5).ok_or_else(damaged)?;
        let (
            &[PickleValue::Text("storage"), PickleValue::Global(Global::Storage(kind)), PickleValue::Text(key), _, len],
            [] | [PickleValue::None],
        ) = (parts, whole)
        else {
            return Err(Error::new("it refers to something other than a whole storage"));
        };
        let len = length(len)?;
        self.pickle.storages.push(Storage { kind, key, len });
        Ok(PickleValue::Storage(self.pickle.storages.len() - 1))
    }

    /// A call of one of the few known functions, as far as it matters here.
    fn call(&mut self) -> Result<PickleValue<'a>> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let PickleValue::Global(function) = function else { return Err(damaged()) };
        match (function, self.tuple(arguments)?) {
            (Global::OrderedDict, []) => Ok(PickleValue::Dict(self.new_items(Vec::new()))),
            (Global::RebuildParameter, [tensor @ PickleValue::Tensor(_), ..]) => Ok(*tensor),
            (Global::RebuildTensor, &[PickleValue::Storage(storage), offset, size, strides, ..]) => {
                let lengths = |value| self.tuple(value)?.iter().map(|value| length(*value)).collect::<Result<Vec<_>>>();
                let (offset, size, strides) = (length(offset)?, lengths(size)?, lengths(strides)?);
                if size.len() != strides.len() {
                    return Err(Error::new(format!("a tensor of size {size:?} has the strides {strides:?}")));
                }
                self.pickle.tensors.push(TensorView { storage, offset, size, strides });
                Ok(PickleValue::Tensor(self.pickle.tensors.len() - 1))
            }
            (function, _) => Err(Error::new(format!("it calls {function:?} in a way that no state dict does"))),
        }
    }

    fn tuple(&self, value: PickleValue) -> Result<&[PickleValue<'a>]> {
        let PickleValue::Tuple(index) = value else { return Err(damaged()) };
        Ok(&self.pickle.items[index])
    }
}

/// An integer of any length; 8 bytes are the most that is needed here.
fn long(input: &mut Input) -> Result<PickleValue<'static>> {
    let width = input.number(1)? as usize;
    if width > 8 {
        return Err(Error::new(format!(
            "it holds an integer of {width} bytes; 8 are the most that a state dict needs"
        )));
    }
    let unused = 64 - 8 * width as u32;
    // The highest bit is the sign.
    let number = input.number(width)?.checked_shl(unused).unwrap_or(0) as i64;
    Ok(PickleValue::Int(number.checked_shr(unused).unwrap_or(0)))
}

fn global(module: &str, name: &str) -> Result<Global> {
    let known = GLOBALS.iter().find(|known| (known.0, known.1) == (module, name));
    known.map(|known| known.2).ok_or_else(|| {
        // A malicious name may be long and contain line breaks.
        let asked: String = format!("{module}.{name}").escape_debug().take(100).collect();
        Error::new(format!("it asks for {asked}, which no state dict needs; save a network's state_dict()"))
    })
}

fn length(value: PickleValue) -> Result<usize> {
    match value {
        PickleValue::Int(number) => usize::try_from(number)
            .map_err(|_| Error::new(format!("it holds the length, stride or offset {number}; none is negative"))),
        _ => Err(damaged()),
    }
}

fn damaged() -> Error {
    Error::new("its pickle is damaged")
}
