//! Optimized networks on disk: used if they match, and harmless otherwise.

mod common;
#[path = "common/models.rs"]
mod models;

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use fcn::{Frame, Mask, Options, PixelFormat, Provider, Segmenter};
use models::{Spec, cache_entries, network, random_bytes, split_header};

fn options(cache: Option<&Path>) -> Options {
    let mut options = Options::default();
    (options.provider, options.threads, options.cache) = (Provider::Cpu, 1, cache.map(Path::to_owned));
    options
}

fn labels(model: &[u8], options: &Options) -> Vec<u8> {
    let pixels = random_bytes(1, 3 * 96 * 64);
    let mut mask = Mask::new();
    let segmenter = Segmenter::from_memory(model, options).unwrap();
    segmenter.segment(&Frame::packed(PixelFormat::Rgb8, &pixels, 96, 64, 0).unwrap(), &mut mask).unwrap();
    mask.labels().to_vec()
}

/// The single entry of a cache: its path, header, and the rest.
fn entry(parent: &Path) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let files = cache_entries(parent);
    let [path] = &files[..] else { panic!("one file, not {files:?}") };
    let content = fs::read(path).unwrap();
    let (header, rest) = split_header(&content);
    (path.clone(), header.to_vec(), rest.to_vec())
}

/// Options with this cache, and the log messages.
fn heard(cache: &Path) -> (Options, Arc<Mutex<Vec<String>>>) {
    let said = Arc::new(Mutex::new(Vec::new()));
    let mut options = options(Some(cache));
    let hears = Arc::clone(&said);
    options.log = Some(Arc::new(move |_, message: &str| hears.lock().unwrap().push(message.to_owned())));
    (options, said)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_kept_network_is_used_and_labels_the_same() {
    let (first, second) = (network(Spec::default()), network(Spec { classes: 4, ..Spec::default() }));
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let truth = labels(&first, &options(None));
    for time in ["written", "read", "read again"] {
        assert_eq!(labels(&first, &options(Some(folder.path()))), truth, "{time}");
    }
    let (path, header, network) = entry(folder.path());
    assert!(String::from_utf8(header.clone()).unwrap().contains("ONNX Runtime 1."));
    // To see that the cache is used, put another network into it: the segmenter then has that
    // network.
    labels(&second, &options(Some(other.path())));
    let (_, _, foreign) = entry(other.path());
    fs::write(&path, [&header[..], &foreign[..]].concat()).unwrap();
    let error = Segmenter::from_memory(&first, &options(Some(folder.path()))).expect_err("it has 4 classes, not 5");
    assert!(error.to_string().contains("4 scores"), "{error}");
    fs::write(&path, [&header[..], &network[..]].concat()).unwrap();
    assert_eq!(labels(&first, &options(Some(folder.path()))), truth);
}

#[test]
fn what_does_not_fit_is_made_anew() {
    let model = network(Spec::default());
    let folder = tempfile::tempdir().unwrap();
    let truth = labels(&model, &options(Some(folder.path())));
    let (path, header, network) = entry(folder.path());
    let whole = [&header[..], &network[..]].concat();
    let stale = String::from_utf8(header.clone()).unwrap().replace("ONNX Runtime 1.", "ONNX Runtime 0.").into_bytes();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (name, content) in [
        ("empty", vec![]),
        ("cut", whole[..whole.len() - 1].to_vec()),
        ("cut in the header", whole[..20].to_vec()),
        ("another version's", [&stale[..], &network[..]].concat()),
        ("damaged", flipped),
        ("something else", b"something else".to_vec()),
    ] {
        fs::write(&path, &content).unwrap();
        assert_eq!(labels(&model, &options(Some(folder.path()))), truth, "{name}");
        assert_eq!(entry(folder.path()).1, header, "{name}: it is made anew");
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (options, said) = heard(&folder.path().join("missing"));
    let model = network(Spec::default());
    assert_eq!(labels(&model, &options), labels(&model, &self::options(None)));
    let said = said.lock().unwrap();
    assert!(said.iter().any(|message| message.contains("not cached") && message.contains("missing")), "{said:?}");
    assert!(cache_entries(folder.path()).is_empty());
}

#[test]
fn only_what_this_user_alone_can_write_is_trusted() {
    let (first, second) = (network(Spec::default()), network(Spec { classes: 4, ..Spec::default() }));
    let (parent, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let truth = labels(&first, &options(Some(parent.path())));
    labels(&second, &options(Some(other.path())));
    let (path, header, network) = entry(parent.path());
    let folder = path.parent().unwrap();
    assert_eq!((mode(folder), mode(&path) & 0o022), (0o700, 0));

    // A forged entry. If it were used, the segmenter would have another network, with 4 classes.
    let forged = [&header[..], &entry(other.path()).2].concat();
    let is_used = || Segmenter::from_memory(&first, &options(Some(parent.path()))).is_err();
    let user = fs::metadata(folder).unwrap().uid();
    let root = user == 0;
    if !root {
        common::skip("cache entries and folders of other users", "only root can create them");
    }
    for (name, file_mode, folder_mode, file_owner, folder_owner, used) in [
        ("own, others can read", 0o644, 0o755, None, None, true),
        ("its group can write the file", 0o620, 0o700, None, None, false),
        ("all can write the file", 0o602, 0o700, None, None, false),
        ("its group can write the folder", 0o600, 0o720, None, None, false),
        ("all can write the folder", 0o600, 0o702, None, None, false),
        ("another user's file", 0o600, 0o700, Some(user + 1), None, false),
        ("another user's folder", 0o600, 0o700, None, Some(user + 1), false),
        ("own again", 0o600, 0o700, Some(user), Some(user), true),
    ] {
        if !root && (file_owner.is_some() || folder_owner.is_some()) {
            continue;
        }
        fs::write(&path, &forged).unwrap();
        set_mode(&path, file_mode);
        set_mode(folder, folder_mode);
        if let Some(owner) = file_owner {
            chown(&path, Some(owner), None).unwrap();
        }
        if let Some(owner) = folder_owner {
            chown(folder, Some(owner), None).unwrap();
        }
        assert_eq!(is_used(), used, "{name}");
        // Restores the original owner and mode.
        if root {
            chown(folder, Some(user), None).unwrap();
        }
        set_mode(folder, 0o700);
        fs::remove_file(&path).unwrap();
        assert_eq!(labels(&first, &options(Some(parent.path()))), truth, "{name}");
        assert_eq!(entry(parent.path()).2, network, "{name}");
    }
}

#[test]
fn links_and_pipes_in_a_cache_are_left_alone() {
    let model = network(Spec::default());
    let (parent, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let truth = labels(&model, &options(Some(parent.path())));
    let (path, header, network) = entry(parent.path());
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "mine").unwrap();

    // Other file types in place of the entry are replaced, and the target of a link is neither read
    // nor written.
    fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    assert_eq!(labels(&model, &options(Some(parent.path()))), truth);
    assert_eq!((entry(parent.path()).2, fs::read(&victim).unwrap()), (network, b"mine".to_vec()));
    fs::remove_file(&path).unwrap();
    pipe(&path);
    assert_eq!(labels(&model, &options(Some(parent.path()))), truth);
    assert_eq!(entry(parent.path()).1, header);

    // Other file types in place of the folder: the cache is not used, and the log says why.
    let folder = path.parent().unwrap();
    fs::rename(folder, elsewhere.path().join("folder")).unwrap();
    symlink(elsewhere.path().join("folder"), folder).unwrap();
    fs::remove_file(elsewhere.path().join("folder").join(path.file_name().unwrap())).unwrap();
    for _ in ["link", "pipe"] {
        let (options, said) = heard(parent.path());
        assert_eq!(labels(&model, &options), truth);
        let said = said.lock().unwrap();
        assert!(
            said.iter().any(|message| message.contains("fcn-cache-") && message.contains("is not used")),
            "{said:?}"
        );
        assert_eq!(fs::read_dir(elsewhere.path().join("folder")).unwrap().count(), 0);
        if fs::symlink_metadata(folder).unwrap().is_symlink() {
            fs::remove_file(folder).unwrap();
            pipe(folder);
        }
    }
    assert!(fs::symlink_metadata(folder).unwrap().file_type().is_fifo());
}

fn pipe(path: &Path) {
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the name is NUL-terminated.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}

#[test]
fn the_limit_of_a_files_size_ends_no_process() {
    const NAME: &str = "the_limit_of_a_files_size_ends_no_process";
    let Some(parent) = std::env::var_os("FCN_TEST_LIMITED_FOLDER").map(PathBuf::from) else {
        let parent = tempfile::tempdir().unwrap();
        // The same test in a process with a limit of 8 blocks of 512 bytes.
        let output = Command::new("sh")
            .args(["-c", "ulimit -f 8; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(NAME)
            .env("FCN_TEST_LIMITED_FOLDER", parent.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
        return;
    };
    let (options, said) = heard(&parent);
    let model = network(Spec { classes: 20, ..Spec::default() });
    assert!(model.len() > 8192);
    assert_eq!(labels(&model, &options), labels(&model, &self::options(None)));
    let said = said.lock().unwrap();
    assert!(said.iter().any(|message| message.contains("not cached")), "{said:?}");
    assert!(cache_entries(&parent).is_empty());
}
