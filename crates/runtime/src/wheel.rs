//! The pinned wheel: fetched by pip (so that the user's index, proxy and certificates apply), checked, unpacked.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest, Sha256};

use crate::locate::AcquireError;

/// The version of the package `onnxruntime` on PyPI that is fetched when no other library is found.
pub(crate) const VERSION: &str = "1.31.1";

/// The library's file name inside the wheel and in the cache.
pub(crate) const LIBRARY: &str = "libonnxruntime.so.1.31.1";

/// One wheel: what to ask pip for, and what must come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wheel {
    pub(crate) platform: &'static str,
    pub(crate) sha256: &'static str,
}

pub(crate) fn pinned_for(os: &str, arch: &str) -> Option<Wheel> {
    match (os, arch) {
        ("linux", "x86_64") => Some(Wheel {
            platform: "manylinux_2_28_x86_64",
            sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
        }),
        ("linux", "aarch64") => Some(Wheel {
            platform: "manylinux_2_28_aarch64",
            sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
        }),
        _ => None,
    }
}

/// Fetches the wheel and puts its library at `target`, whole or not at all.
pub(crate) fn fetch(wheel: &Wheel, pips: &[Vec<OsString>], target: &Path) -> Result<(), AcquireError> {
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    // Beside the target: a rename is atomic only within one file system.
    let aside = tempfile::Builder::new().prefix(".fetch-").tempdir_in(folder).map_err(failed("write into", folder))?;
    tracing::info!(version = VERSION, "fetching ONNX Runtime with pip (24 MB, once)");
    download(wheel, pips, aside.path())?;
    let file = only_wheel_in(aside.path())?;
    verify(&file, wheel.sha256)?;
    let unpacked = aside.path().join(LIBRARY);
    unpack(&file, &unpacked)?;
    fs::rename(&unpacked, target).map_err(failed("write", target))
}

fn download(wheel: &Wheel, pips: &[Vec<OsString>], into: &Path) -> Result<(), AcquireError> {
    for pip in pips {
        let Some((program, first)) = pip.split_first() else { continue };
        let mut command = Command::new(program);
        command
            .args(first)
            .args(["download", &format!("onnxruntime=={VERSION}"), "--no-deps", "--only-binary", ":all:"])
            // The library inside is the same for every Python; asking for one keeps the file, and its hash, fixed.
            .args(["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"])
            .args(["--platform", wheel.platform, "--disable-pip-version-check", "--quiet", "-d"])
            .arg(into)
            .stdin(Stdio::null());
        let Ok(output) = command.output() else { continue };
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        // python3 without pip, or a shim that leads nowhere.
        if words.contains("No module named pip") || output.status.code() == Some(127) {
            continue;
        }
        return Err(AcquireError::Pip {
            command: format!("{} download onnxruntime=={VERSION}", shown(pip)),
            status: output.status.to_string(),
            output: last_words(&words),
        });
    }
    Err(AcquireError::NoPip { tried: pips.iter().map(|pip| shown(pip)).collect() })
}

fn shown(command: &[OsString]) -> String {
    command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The last line that says something: pip ends with the reason.
fn last_words(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    line.trim().chars().take(400).collect()
}

fn only_wheel_in(folder: &Path) -> Result<PathBuf, AcquireError> {
    let entries = folder.read_dir().map_err(failed("read", folder))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "whl"))
        .ok_or_else(|| AcquireError::Archive {
            file: format!("onnxruntime-{VERSION}"),
            reason: "pip brought no wheel".to_owned(),
        })
}

fn verify(file: &Path, expected: &'static str) -> Result<(), AcquireError> {
    let bytes = fs::read(file).map_err(failed("read", file))?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found == expected { Ok(()) } else { Err(AcquireError::Checksum { file: name_of(file), found, expected }) }
}

fn unpack(wheel: &Path, into: &Path) -> Result<(), AcquireError> {
    let damaged = |reason: String| AcquireError::Archive { file: name_of(wheel), reason };
    let file = File::open(wheel).map_err(failed("read", wheel))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| damaged(error.to_string()))?;
    let member = format!("onnxruntime/capi/{LIBRARY}");
    let mut library = archive.by_name(&member).map_err(|error| damaged(format!("{member}: {error}")))?;
    let mut written = File::create(into).map_err(failed("write", into))?;
    io::copy(&mut library, &mut written).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            damaged(error.to_string())
        }
        _ => failed("write", into)(error),
    })?;
    written.sync_all().map_err(failed("write", into))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AcquireError {
    let path = path.to_owned();
    move |source| AcquireError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_damaged_wheel_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let wheel = dir.path().join("onnxruntime.whl");
        let target = dir.path().join("out.so");
        fs::write(&wheel, b"PK, or so it says").expect("written");
        let error = unpack(&wheel, &target).unwrap_err().to_string();
        assert!(error.starts_with("the wheel `onnxruntime.whl` is damaged ("), "{error}");

        let mut archive = zip::ZipWriter::new(File::create(&wheel).expect("created"));
        archive.start_file("README", zip::write::SimpleFileOptions::default()).expect("started");
        archive.write_all(b"no library here").expect("written");
        archive.finish().expect("finished");
        let error = unpack(&wheel, &target).unwrap_err().to_string();
        assert!(error.contains("onnxruntime/capi/libonnxruntime.so.1.31.1"), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn only_linux_on_two_processors_has_a_pinned_wheel() {
        assert!(pinned_for("linux", "x86_64").is_some());
        assert!(pinned_for("linux", "aarch64").is_some());
        assert!(pinned_for("macos", "aarch64").is_none());
    }
}
