//! The order of places, and every way to fail, with stand-ins for the library and for pip.

use std::{fs, os::unix::fs::PermissionsExt};

use super::*;

struct Sandbox(tempfile::TempDir);

impl Sandbox {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// A file that says it is ONNX Runtime `version`.
    fn library(&self, name: &str, version: &str) -> PathBuf {
        self.file(name, format!("\x7fELF...\0VERS_{version}\0...").as_bytes())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("made");
        fs::write(&path, bytes).expect("written");
        path.canonicalize().expect("there")
    }

    /// A stand-in for pip; `$DEST` is where the wheel should go.
    fn pip(&self, script: &str) -> Vec<Vec<OsString>> {
        let body = format!("#!/bin/sh\nfor DEST; do :; done\n{script}\n");
        let path = self.file("bin/pip", body.as_bytes());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        vec![vec!["/nonexistent/python3".into()], vec![path.into()]]
    }

    fn places(&self) -> Places {
        Places {
            cache: Some(self.0.path().join("cache")),
            system: vec![self.0.path().join("lib")],
            ..Places::default()
        }
    }
}

fn message(result: Result<Library, AcquireError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn the_argument_comes_before_the_environment_before_the_system_before_the_cache() {
    let sandbox = Sandbox::new();
    let argument = sandbox.library("a.so", "1.24.0");
    let environment = sandbox.library("e.so", "1.25.0");
    let system = sandbox.library("lib/libonnxruntime.so.1.26.0", "1.26.0");
    let cached = sandbox.library(&format!("cache/1.31.1/{}", wheel::LIBRARY), "1.31.1");
    let mut places = Places { environment: Some(environment.clone()), ..sandbox.places() };

    let found = |explicit: Option<&Path>, places: &Places| {
        let library = locate_in(explicit, places).expect("found");
        (library.path().to_owned(), library.found())
    };
    assert_eq!(found(Some(&argument), &places), (argument.clone(), Found::Argument));
    assert_eq!(found(None, &places), (environment, Found::Environment));
    places.environment = None;
    assert_eq!(found(None, &places), (system.clone(), Found::System));
    fs::remove_file(system).expect("removed");
    assert_eq!(found(None, &places), (cached, Found::Cache));
}

#[test]
fn an_unsuitable_library_is_refused_when_named_and_passed_over_when_lying_around() {
    let sandbox = Sandbox::new();
    let old = sandbox.library("lib/libonnxruntime.so.1.16.3", "1.16.3");
    let refusal = message(locate_in(Some(&old), &sandbox.places()));
    assert!(refusal.contains("is ONNX Runtime 1.16.3, but 1.24.0 or newer (1.x) is needed"), "{refusal}");
    assert!(refusal.contains("named by --onnxruntime"), "{refusal}");

    let newer = sandbox.library("lib/libonnxruntime.so.1.30.0", "1.30.0");
    sandbox.library("lib/libonnxruntime.so.1.28.0", "1.28.0");
    let library = locate_in(None, &sandbox.places()).expect("the newest suitable one");
    assert_eq!(library.path(), newer);
    assert!(library.notes().iter().any(|note| note.contains("passed over") && note.contains("1.16.3")));
}

#[test]
fn what_is_named_and_is_no_library_is_refused_with_the_way_out() {
    let sandbox = Sandbox::new();
    let places = sandbox.places();
    let missing = message(locate_in(Some(Path::new("/nonexistent/x.so")), &places));
    assert!(
        missing.starts_with("no ONNX Runtime at `/nonexistent/x.so` (named by --onnxruntime): no such file"),
        "{missing}"
    );
    let text = sandbox.file("readme.txt", b"hello");
    let places = Places { environment: Some(text), ..places };
    let wrong = message(locate_in(None, &places));
    assert!(wrong.contains("(named by ORT_DYLIB_PATH) is not a shared library"), "{wrong}");
    let other = sandbox.file("libm.so", b"\x7fELF");
    let unknown = message(locate_in(Some(&other), &places));
    assert!(unknown.contains("does not say which version"), "{unknown}");
}

#[test]
fn without_pip_the_message_names_what_was_tried_and_the_way_out() {
    let sandbox = Sandbox::new();
    let pips = vec![vec!["/nonexistent/python3".into(), "-m".into(), "pip".into()], vec!["/nonexistent/pip".into()]];
    let error = message(locate_in(None, &Places { pips, ..sandbox.places() }));
    assert!(error.contains("no pip to fetch it with (tried /nonexistent/python3 -m pip, /nonexistent/pip)"), "{error}");
    assert!(error.contains("--onnxruntime PATH"), "{error}");
}

#[test]
fn a_python_without_pip_counts_as_no_pip() {
    let sandbox = Sandbox::new();
    let pips = sandbox.pip("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
    let error = message(locate_in(None, &Places { pips, ..sandbox.places() }));
    assert!(error.contains("no pip to fetch it with"), "{error}");
}

#[test]
fn a_failing_pip_is_quoted() {
    let sandbox = Sandbox::new();
    let pips = sandbox.pip("echo 'ERROR: No matching distribution found' >&2; exit 1");
    let error = message(locate_in(None, &Places { pips, ..sandbox.places() }));
    assert!(error.contains("download onnxruntime==1.31.1` failed (exit status: 1)"), "{error}");
    assert!(error.contains("ERROR: No matching distribution found; check pip's index"), "{error}");
}

#[test]
fn a_wheel_with_another_checksum_is_refused_and_nothing_is_kept() {
    let sandbox = Sandbox::new();
    let pips = sandbox.pip("echo evil > \"$DEST/onnxruntime-1.31.1-cp312.whl\"");
    let error = message(locate_in(None, &Places { pips, ..sandbox.places() }));
    assert!(error.contains("the wheel `onnxruntime-1.31.1-cp312.whl` has SHA-256 "), "{error}");
    let left = fs::read_dir(sandbox.0.path().join("cache/1.31.1")).expect("there").count();
    assert_eq!(left, 0, "nothing half-fetched stays behind");
}

#[test]
fn a_pip_that_brings_nothing_is_an_error() {
    let sandbox = Sandbox::new();
    let pips = sandbox.pip("exit 0");
    let error = message(locate_in(None, &Places { pips, ..sandbox.places() }));
    assert!(error.contains("pip brought no wheel"), "{error}");
}

#[test]
fn a_damaged_library_in_the_cache_is_fetched_again() {
    let sandbox = Sandbox::new();
    sandbox.file(&format!("cache/1.31.1/{}", wheel::LIBRARY), b"");
    let pips = sandbox.pip("echo 'ERROR: offline' >&2; exit 1");
    let error = message(locate_in(None, &Places { pips, ..sandbox.places() }));
    assert!(error.contains("ERROR: offline"), "the cache was not trusted: {error}");
}

#[test]
fn without_a_home_the_message_says_what_to_set() {
    let error = message(locate_in(None, &Places::default()));
    assert!(error.contains("set HOME or XDG_CACHE_HOME"), "{error}");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let sandbox = Sandbox::new();
    let blocked = sandbox.file("blocked", b"a file where a folder should be");
    let error = message(locate_in(None, &Places { cache: Some(blocked), ..sandbox.places() }));
    assert!(error.starts_with("cannot create `") && error.contains("blocked"), "{error}");
}
