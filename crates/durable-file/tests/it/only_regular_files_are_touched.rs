//! Links are followed or refused as asked, and nothing but a regular file is read or replaced.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use durable_file::{Content, FileError, Links, NewFile, Options, write};

fn pipe(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
}

#[test]
fn a_followed_link_stays_a_link_and_its_file_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("real")).unwrap();
    let real = directory.path().join("real/file");
    fs::write(&real, "old").unwrap();
    let second = directory.path().join("second");
    symlink("real/file", &second).unwrap();
    let link = directory.path().join("link");
    symlink(&second, &link).unwrap();
    write(&link, &Options::replace(), b"new").unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert!(!real.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read(&real).unwrap(), b"new");
    assert_eq!(Content::read(&link, Links::Follow, 9).unwrap().path(), fs::canonicalize(&real).unwrap());
}

#[test]
fn a_refused_link_is_neither_read_nor_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().join("real");
    fs::write(&real, "old").unwrap();
    for (name, leads_to) in [("link", real.as_path()), ("dangling", Path::new("nothing"))] {
        let link = directory.path().join(name);
        symlink(leads_to, &link).unwrap();
        let refused = |error| matches!(error, FileError::Link { .. });
        assert!(refused(Content::read(&link, Links::Refuse, 9).unwrap_err()));
        assert!(refused(write(&link, &Options::create(), b"new").unwrap_err()));
        let replace = Options::replace().with_links(Links::Refuse);
        assert!(refused(write(&link, &replace, b"new").unwrap_err()));
    }
    assert_eq!(fs::read(&real).unwrap(), b"old");
    assert!(!directory.path().join("nothing").exists());
}

#[test]
fn a_link_that_leads_nowhere_creates_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    symlink("nothing", &link).unwrap();
    assert!(matches!(write(&link, &Options::replace(), b"new"), Err(FileError::Missing { .. })));
    assert!(!directory.path().join("nothing").exists());
}

#[test]
fn pipes_devices_sockets_and_directories_are_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    pipe(&fifo);
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for path in [fifo.as_path(), Path::new("/dev/null"), socket.as_path(), directory.path()] {
        let before = path.metadata().unwrap().file_type();
        let refused = |error| matches!(error, FileError::NotRegular { .. });
        assert!(refused(Content::read(path, Links::Follow, 9).unwrap_err()), "{path:?}");
        assert!(refused(durable_file::open(path, Links::Follow).unwrap_err()), "{path:?}");
        assert!(refused(write(path, &Options::replace(), b"new").unwrap_err()), "{path:?}");
        assert_eq!(path.metadata().unwrap().file_type(), before);
    }
}

#[test]
fn a_pipe_that_takes_the_place_of_the_file_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    let new = NewFile::begin(&path, &Options::replace()).unwrap();
    fs::remove_file(&path).unwrap();
    pipe(&path);
    assert!(matches!(new.commit(), Err(FileError::NotRegular { .. })));
}

#[test]
fn hard_links_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    assert_eq!(Content::read(&path, Links::Follow, 9).unwrap().names(), 1);
    fs::hard_link(&path, directory.path().join("other")).unwrap();
    assert_eq!(Content::read(&path, Links::Follow, 9).unwrap().names(), 2);
}
