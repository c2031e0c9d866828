//! Whether a program has a file open for writing, or mapped into its memory, as `/proc` shows it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The bits of the flags in `/proc/<pid>/fdinfo/<fd>` that say how a file is open; 0 is for reading only (open(2)).
const ACCESS_MODE: u32 = 0o3;
/// `PROC_PID_INIT_INO` of Linux, `include/linux/proc_ns.h`: the number of the PID namespace that the kernel begins with.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// It can have more capabilities than any other, and then not even root sees its files.
const FIRST_PROCESS: &str = "/proc/1";
const NO_SUCH_PROCESS: i32 = rustix::io::Errno::SRCH.raw_os_error();

/// A file, independent of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// The files that programs have open for writing or mapped, and whether every program was seen.
pub(super) struct Writers {
    open: HashSet<FileId>,
    /// Whether programs can be at work that were not seen: of another user, or outside of this PID namespace.
    pub(super) are_incomplete: bool,
}

impl Writers {
    pub(super) fn have_open(&self, file: FileId) -> bool {
        self.open.contains(&file)
    }
}

/// Looks at the open files of every program.
///
/// # Errors
/// `/proc` cannot be read: then no file counts as closed.
pub(super) fn writers() -> io::Result<Writers> {
    // A `/proc` that hides the processes of others (`hidepid`, `ProtectProc`) hides the first process too.
    let hides_others = !Path::new(FIRST_PROCESS).exists();
    let are_incomplete = hides_others || !sees_every_namespace();
    let mut writers = Writers { open: HashSet::new(), are_incomplete };
    for process in fs::read_dir("/proc")? {
        let process = process?.path();
        let is_process = process.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit());
        if !is_process {
            continue;
        }
        match add_of_process(&process, &mut writers.open) {
            // The first process hands files to those that it starts, and keeps none.
            Err(error) if !is_gone(&error) && process != Path::new(FIRST_PROCESS) => {
                writers.are_incomplete = true;
            }
            _ => {}
        }
    }
    Ok(writers)
}

/// Only from the first PID namespace are all others seen.
fn sees_every_namespace() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|namespace| namespace == Path::new(FIRST_PID_NAMESPACE))
}

/// A process that has ended meanwhile has nothing open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
}

fn add_of_process(process: &Path, open: &mut HashSet<FileId>) -> io::Result<()> {
    for descriptor in fs::read_dir(process.join("fd"))? {
        let descriptor = descriptor?;
        let info = process.join("fdinfo").join(descriptor.file_name());
        let file = match fs::metadata(descriptor.path()) {
            Ok(file) => file,
            // Closed meanwhile, or on a file system that shows us nothing, which then is not ours.
            Err(_) => match fs::read_link(descriptor.path()) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                _ => continue,
            },
        };
        if file.is_file() && fs::read_to_string(info).map_or(true, |info| is_for_writing(&info)) {
            open.insert(FileId::of(&file));
        }
    }
    add_mapped(&fs::read(process.join("maps"))?, open);
    Ok(())
}

/// Adds the files that are mapped and shared (proc_pid_maps(5)): what is written to such a mapping is in the file, also after its
/// descriptor is closed. A mapping that is not for writing can become one.
fn add_mapped(maps: &[u8], open: &mut HashSet<FileId>) {
    for line in maps.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (Some(permissions), Some(_), Some(device), Some(inode)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Ok(inode) = inode.parse::<u64>() else { continue };
        if !permissions.ends_with('s') || inode == 0 {
            continue;
        }
        let numbers = device.split_once(':').map(|(major, minor)| (number(major), number(minor)));
        if let Some((Some(major), Some(minor))) = numbers {
            open.insert(FileId { device: rustix::fs::makedev(major, minor), inode });
        }
        // Some file systems show another device here than they give to a file.
        let path = line.find('/').map(|at| Path::new(&line[at..]));
        let there = path.and_then(|path| fs::metadata(path).ok()).filter(|there| there.ino() == inode);
        open.extend(there.map(|there| FileId::of(&there)));
    }
}

fn number(hexadecimal: &str) -> Option<u32> {
    u32::from_str_radix(hexadecimal, 16).ok()
}

fn is_for_writing(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    // A descriptor whose flags cannot be read counts as open for writing.
    flags.is_none_or(|flags| flags & ACCESS_MODE != 0)
}
