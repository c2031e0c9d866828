//! A file is replaced only if it is unchanged since it was read, also while other programs write to it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use durable_file::{Content, FileError, Links, NewFile, Options};
use rustix::fs::{CWD, RenameFlags, renameat_with};

fn read(path: &Path) -> Content {
    Content::read(path, Links::Follow, 1 << 20).unwrap()
}

fn replace_over(path: &Path, before: &Content, text: &str) -> Result<(), FileError> {
    let mut new = NewFile::begin(path, &Options::replace()).unwrap();
    new.write_all(text.as_bytes()).unwrap();
    new.commit_over(before)
}

#[test]
fn an_unchanged_file_is_replaced_and_its_old_version_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    replace_over(&path, &read(&path), "new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_was_edited_replaced_or_removed_is_left_as_it_is() {
    let edits: [fn(&Path); 5] = [
        |path| fs::write(path, "old+").unwrap(),
        |path| fs::write(path, "o").unwrap(),
        |path| fs::write(path, "OLD").unwrap(),
        |path| {
            fs::write(path.with_extension("other"), "old").unwrap();
            fs::rename(path.with_extension("other"), path).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
    ];
    for edit in edits {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let before = read(&path);
        edit(&path);
        let edited = fs::read(&path).ok();
        assert!(matches!(replace_over(&path, &before, "new"), Err(FileError::Changed { .. })));
        assert_eq!(fs::read(&path).ok(), edited);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), usize::from(edited.is_some()));
    }
}

#[test]
fn writers_that_compare_lose_no_step_of_each_other() {
    const STEPS: u32 = 60;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("count");
    fs::write(&path, "0").unwrap();
    let count_up = || {
        for _ in 0..STEPS {
            loop {
                let before = read(&path);
                let count: u32 = std::str::from_utf8(before.bytes()).unwrap().parse().unwrap();
                match replace_over(&path, &before, &(count + 1).to_string()) {
                    Ok(()) => break,
                    Err(FileError::Changed { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(count_up))));
    assert_eq!(fs::read_to_string(&path).unwrap(), (3 * STEPS).to_string());
}

#[test]
fn no_edit_by_a_program_that_knows_no_lock_disappears() {
    const EDITS: u32 = 400;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "edit 0").unwrap();
    let mut accounted = BTreeSet::new();
    let mut account = |text: &[u8]| {
        accounted.insert(String::from_utf8(text.to_vec()).unwrap());
    };
    let overwritten = std::thread::scope(|scope| {
        let editor = scope.spawn(|| {
            let mine = directory.path().join("mine");
            (1..=EDITS)
                .map(|n| {
                    fs::write(&mine, format!("edit {n}")).unwrap();
                    renameat_with(CWD, &mine, CWD, &path, RenameFlags::EXCHANGE).unwrap();
                    fs::read(&mine).unwrap()
                })
                .collect::<Vec<_>>()
        });
        while !editor.is_finished() {
            let before = read(&path);
            match replace_over(&path, &before, "replaced") {
                Ok(()) => account(before.bytes()),
                Err(FileError::Collided { kept, .. }) => account(&fs::read(kept).unwrap()),
                Err(FileError::Changed { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        }
        editor.join().unwrap()
    });
    overwritten.iter().for_each(|text| account(text));
    account(&fs::read(&path).unwrap());
    let missing: Vec<u32> = (0..=EDITS).filter(|n| !accounted.contains(&format!("edit {n}"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
