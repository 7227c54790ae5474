//! Small files made with PyTorch by tests/reference/pth.py, and malicious ones.

use serde_json::Value as Json;

use super::*;

const ZIP: &[u8] = include_bytes!("../../../tests/reference/pth/zip.pth");
const OLD: &[u8] = include_bytes!("../../../tests/reference/pth/old.pth");
const NESTED: &[u8] = include_bytes!("../../../tests/reference/pth/nested.pth");

fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_kind(Kind::Double).contiguous().view([-1]).try_into().unwrap()
}

fn message(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().0
}

/// `bytes` with the first `from` replaced.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn both_formats_hold_what_pytorch_saved() {
    let expected: Json = serde_json::from_str(include_str!("../../../tests/reference/pth/expected.json")).unwrap();
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), 15);
    for (format, bytes) in [("zip", ZIP), ("old", OLD)] {
        let tensors = parse(bytes).unwrap();
        assert_eq!(tensors.len(), expected.len(), "{format}");
        for (name, expected) in expected {
            let tensor = &tensors[name];
            let kind = match expected["kind"].as_str().unwrap() {
                "torch.float32" => Kind::Float,
                "torch.float16" => Kind::Half,
                "torch.bfloat16" => Kind::BFloat16,
                "torch.float64" => Kind::Double,
                "torch.int64" => Kind::Int64,
                "torch.int32" => Kind::Int,
                "torch.int16" => Kind::Int16,
                "torch.int8" => Kind::Int8,
                "torch.uint8" => Kind::Uint8,
                "torch.bool" => Kind::Bool,
                other => panic!("{other}"),
            };
            assert_eq!(tensor.kind(), kind, "{format} {name}");
            let shape: Vec<i64> = serde_json::from_value(expected["shape"].clone()).unwrap();
            assert_eq!(tensor.size(), shape, "{format} {name}");
            let number = |value: &Json| value.as_f64().or(value.as_bool().map(f64::from)).unwrap();
            let numbers: Vec<f64> = expected["values"].as_array().unwrap().iter().map(number).collect();
            assert_eq!(values(tensor), numbers, "{format} {name}");
        }
    }
}

#[test]
fn a_state_dict_among_other_things_is_found() {
    let tensors = parse(NESTED).unwrap();
    assert_eq!(tensors.keys().collect::<Vec<_>>(), ["w"]);
    assert_eq!(tensors["w"].size(), [2, 3]);
    assert_eq!(values(&tensors["w"]), [-1.0, -0.875, -0.75, -0.625, -0.5, -0.375]);
}

#[test]
fn files_cut_short_anywhere_are_errors() {
    for bytes in [ZIP, OLD, NESTED] {
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}

/// Any file gives a result: no panic, no endless loop, no exhausted memory.
#[test]
fn files_with_any_byte_changed_have_an_answer() {
    let mut errors = 0;
    for bytes in [ZIP, OLD] {
        let mut changed = bytes.to_vec();
        for at in 0..bytes.len() {
            for change in [0x01, 0x20, 0x80, 0xff] {
                changed[at] = bytes[at] ^ change;
                errors += usize::from(parse(&changed).is_err());
            }
            changed[at] = bytes[at];
        }
    }
    assert!(errors > 1000, "{errors}");
}

#[test]
fn what_a_state_dict_does_not_need_is_named() {
    let compressed = {
        let mut bytes = ZIP.to_vec();
        let entry = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        bytes[entry + 10] = 8;
        bytes
    };
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("a command", replaced(OLD, b"collections\nOrderedDict", b"posix\nsystem"), "asks for posix.system,"),
        ("a class", replaced(ZIP, b"OrderedDict", b"OrderedBomb"), "asks for collections.OrderedBomb,"),
        ("big-endian, old", replaced(OLD, b"little_endianq\x02\x88", b"little_endianq\x02\x89"), "little-endian"),
        ("big-endian, zip", replaced(ZIP, b"little", b"bigger"), "big-endian"),
        ("another version", replaced(OLD, b"M\xe9\x03.", b"M\xea\x03."), "version is not 1001"),
        ("compressed", compressed, "compressed"),
        ("neither format", b"P5 1 1 255 x".to_vec(), "not a file that torch.save wrote"),
        ("nothing", Vec::new(), "not a file that torch.save wrote"),
    ];
    for (case, bytes, expected) in cases {
        let message = message(&bytes);
        assert!(message.contains(expected), "{case}: {message}");
    }
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn int(number: i32) -> Vec<u8> {
    [b"J", &number.to_le_bytes()[..]].concat()
}

fn tuple(numbers: &[i32]) -> Vec<u8> {
    [b"(".to_vec(), numbers.iter().copied().flat_map(int).collect(), b"t".to_vec()].concat()
}

/// A file of the old format with this pickle, and a storage "0" of the numbers 0, 1, 2, 3 and 4.
fn old_file(pickle: &[u8]) -> Vec<u8> {
    let numbers: Vec<u8> = (0u8..5).flat_map(|number| f32::from(number).to_le_bytes()).collect();
    [
        OLD_MAGIC,
        b"\x80\x02M\xe9\x03.",
        &[b"\x80\x02}", &text("little_endian")[..], b"\x88s."].concat(),
        pickle,
        &[b"\x80\x02]", &text("0")[..], b"a."].concat(),
        &5u64.to_le_bytes(),
        &numbers,
    ]
    .concat()
}

/// The name "w" and a tensor whose storage claims to have `len` numbers.
fn tensor(len: i32, offset: i32, size: &[i32], strides: &[i32]) -> Vec<u8> {
    let storage =
        [b"(", &text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), &int(len), b"NtQ"].concat();
    let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n";
    [&text("w")[..], rebuild, b"(", &storage, &int(offset), &tuple(size), &tuple(strides), b"\x89NtR"].concat()
}

/// A file with one tensor.
fn one_tensor(len: i32, offset: i32, size: &[i32], strides: &[i32]) -> Vec<u8> {
    old_file(&[b"\x80\x02}", &tensor(len, offset, size, strides)[..], b"s."].concat())
}

#[test]
fn views_stay_within_their_storage() {
    const MAX: i32 = i32::MAX;
    // By hand: row r, column c of the first is number 1 + r + 2 c.
    assert_eq!(values(&parse(&one_tensor(5, 1, &[2, 2], &[1, 2])).unwrap()["w"]), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(values(&parse(&one_tensor(5, 4, &[1, 3], &[MAX, 0])).unwrap()["w"]), [4.0, 4.0, 4.0]);
    assert_eq!(parse(&one_tensor(5, 9, &[0, 3], &[MAX, MAX])).unwrap()["w"].size(), [0, 3]);
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("last number", one_tensor(5, 2, &[2, 2], &[1, 2]), "w: size [2, 2], strides [1, 2] and offset 2 reach beyond"),
        ("offset", one_tensor(5, 5, &[], &[]), "reach beyond its storage of 5 numbers"),
        ("stride", one_tensor(5, 0, &[2], &[MAX]), "reach beyond"),
        ("overflow", one_tensor(5, 0, &[MAX, MAX, MAX], &[MAX, MAX, MAX]), "reach beyond"),
        ("too many numbers", one_tensor(5, 0, &[MAX, MAX], &[0, 0]), "more than a file of this size"),
        ("negative stride", one_tensor(5, 4, &[2], &[-1]), "-1; none is negative"),
        ("negative size", one_tensor(5, 0, &[-2], &[1]), "-2; none is negative"),
        ("strides for sides", one_tensor(5, 0, &[2, 2], &[1]), "size [2, 2] has the strides [1]"),
        ("longer storage", one_tensor(6, 0, &[6], &[1]), "storage 0 has 5 numbers, where 6 should be"),
        ("huge storage", one_tensor(MAX, 0, &[MAX], &[1]), "storage 0 has 5 numbers"),
    ];
    for (case, bytes, expected) in cases {
        let message = message(&bytes);
        assert!(message.contains(expected), "{case}: {message}");
    }
}

#[test]
fn depth_and_self_reference_do_no_harm() {
    let w = tensor(5, 0, &[1], &[1]);
    let deep = [b"\x80\x02}", &w[..], b"s", &text("deep"), b"N", &vec![0x85; 1_000_000], b"s."].concat();
    let itself = [b"\x80\x02}q\x00", &text("state_dict")[..], b"h\x00s", &w, b"s."].concat();
    for pickle in [deep, itself] {
        assert_eq!(parse(&old_file(&pickle)).unwrap().keys().collect::<Vec<_>>(), ["w"]);
    }
}
