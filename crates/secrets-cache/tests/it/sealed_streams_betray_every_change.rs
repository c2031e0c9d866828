//! A sealed stream opens with its key and unchanged, or not at all.

use std::io::{Read, Write};

use std::sync::Arc;

use envelope_core::provider::GeneratedDataKey;
use envelope_core::{DataKey, WrappedDataKey};
use secrets_cache::sealed_stream::{
    self, CHUNK_LEN, Existing, Opens, StreamError, StreamKey, StreamKind, StreamReader, StreamWriter,
    open_file, seal_file,
};

const HEADER_LEN: usize = 8 + 4 + LABEL.len() + 64;
const LABEL: &str = "the test's";

fn key(n: u8) -> DataKey {
    DataKey::from_slice(&[n; 32]).unwrap()
}

fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 251) as u8).collect()
}

fn seal(plaintext: &[u8]) -> Vec<u8> {
    seal_as(StreamKind::File, plaintext)
}

fn seal_as(kind: StreamKind, plaintext: &[u8]) -> Vec<u8> {
    let mut writer = StreamWriter::new(Vec::new(), &StreamKey::new(key(1), LABEL), kind).unwrap();
    writer.write_all(plaintext).unwrap();
    writer.finish().unwrap()
}

fn open(sealed: &[u8], key: &DataKey) -> Result<Vec<u8>, StreamError> {
    open_as(Opens::Only(StreamKind::File), sealed, key)
}

fn open_as(opens: Opens, sealed: &[u8], key: &DataKey) -> Result<Vec<u8>, StreamError> {
    let mut reader = StreamReader::new(sealed, key, opens)?;
    let mut opened = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        opened.extend_from_slice(chunk);
    }
    Ok(opened)
}

#[test]
fn every_length_comes_back() {
    for length in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN, 3 * CHUNK_LEN + 5] {
        let sealed = seal(&plaintext(length));
        let chunks = length.div_ceil(CHUNK_LEN).max(1);
        assert_eq!(sealed.len(), HEADER_LEN + length + 16 * chunks);
        assert_eq!(open(&sealed, &key(1)).unwrap(), plaintext(length));
        let mut reader = StreamReader::new(sealed.as_slice(), &key(1), Opens::Any).unwrap();
        assert_eq!(reader.label(), LABEL);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, plaintext(length));
    }
}

#[test]
fn two_streams_of_the_same_have_nothing_in_common() {
    assert_ne!(seal(b"the same")[HEADER_LEN..], seal(b"the same")[HEADER_LEN..]);
}

#[test]
fn another_key_is_told_apart_from_damage() {
    assert!(matches!(open(&seal(b"x"), &key(2)), Err(StreamError::WrongKey)));
    assert!(matches!(open(b"DATABASE_URL=x", &key(1)), Err(StreamError::NotSealed)));
    assert!(matches!(open(b"", &key(1)), Err(StreamError::NotSealed)));
}

#[test]
fn every_byte_counts() {
    let sealed = seal(&plaintext(100));
    for position in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[position] ^= 1;
        assert!(open(&changed, &key(1)).is_err(), "byte {position}");
    }
}

#[test]
fn every_truncation_shows() {
    let sealed = seal(&plaintext(100));
    for length in 0..sealed.len() {
        assert!(open(&sealed[..length], &key(1)).is_err(), "{length} bytes");
    }
    let sealed = seal(&plaintext(3 * CHUNK_LEN));
    let chunk = CHUNK_LEN + 16;
    for chunks in 0..3 {
        let cut = open(&sealed[..HEADER_LEN + chunks * chunk], &key(1));
        assert!(matches!(cut, Err(StreamError::Truncated)), "{chunks} chunks: {cut:?}");
    }
}

#[test]
fn chunks_cannot_be_moved_repeated_dropped_or_added() {
    let sealed = seal(&plaintext(3 * CHUNK_LEN));
    let (header, chunks) = sealed.split_at(HEADER_LEN);
    let chunks: Vec<&[u8]> = chunks.chunks(CHUNK_LEN + 16).collect();
    for order in [vec![1, 0, 2], vec![0, 0, 1, 2], vec![0, 2], vec![0, 1, 2, 2], vec![2]] {
        let moved: Vec<u8> =
            header.iter().copied().chain(order.iter().flat_map(|&n| chunks[n].iter().copied())).collect();
        assert!(matches!(open(&moved, &key(1)), Err(StreamError::Damaged)), "{order:?}");
    }
    let mut longer = sealed.clone();
    longer.push(0);
    assert!(matches!(open(&longer, &key(1)), Err(StreamError::Damaged)));
}

#[test]
fn files_appear_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let text = plaintext(200_000);
    std::fs::write(path("plain"), &text).unwrap();
    seal_file(
        &StreamKey::new(key(1), LABEL),
        StreamKind::File,
        &path("plain"),
        &path("sealed"),
        Existing::Refuse,
        &|| false,
    )
    .unwrap();
    open_file(&key(1), StreamKind::File, &path("sealed"), &path("opened"), Existing::Refuse, &|| false)
        .unwrap();
    assert_eq!(std::fs::read(path("opened")).unwrap(), text);
    let mut damaged = std::fs::read(path("sealed")).unwrap();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(path("damaged"), damaged).unwrap();
    assert!(matches!(
        open_file(&key(1), StreamKind::File, &path("damaged"), &path("opened"), Existing::Replace, &|| false),
        Err(StreamError::Damaged)
    ));
    assert_eq!(std::fs::read(path("opened")).unwrap(), text, "the existing file is still there");
    assert!(matches!(
        open_file(&key(1), StreamKind::File, &path("damaged"), &path("new"), Existing::Refuse, &|| false),
        Err(StreamError::Damaged)
    ));
    let mut left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["damaged", "opened", "plain", "sealed"]);
}

#[test]
fn a_stream_of_each_kind_opens_as_that_kind_and_as_no_other() {
    let kinds = [StreamKind::Backup, StreamKind::File];
    for kind in kinds {
        let sealed = seal_as(kind, b"x");
        for wanted in kinds {
            for opens in [Opens::Only(wanted), Opens::OrUnlabelled(wanted)] {
                let opened = open_as(opens, &sealed, &key(1));
                match kind == wanted {
                    true => assert_eq!(opened.unwrap(), b"x"),
                    false => assert!(matches!(opened, Err(StreamError::OtherKind)), "{opened:?}"),
                }
            }
            // A header that was changed to the expected kind does not help: each kind has a key of its own.
            let mut forged = sealed.clone();
            forged[10] = seal_as(wanted, b"")[10];
            let opened = open_as(Opens::Only(wanted), &forged, &key(1));
            assert_eq!(opened.is_ok(), kind == wanted);
        }
        assert_eq!(open_as(Opens::Any, &sealed, &key(1)).unwrap(), b"x");
        let mut unknown = sealed;
        unknown[10] = 3;
        assert!(matches!(open_as(Opens::Any, &unknown, &key(1)), Err(StreamError::UnknownVersion)));
    }
}

/// A file that the program sealed before streams said their kind, under the bytes 0 to 31.
const EARLIER: &[u8] = include_bytes!("../vectors/sealed_file_v1");

#[test]
fn a_stream_of_the_first_version_opens_only_where_such_are_accepted() {
    let key = DataKey::from_slice(&std::array::from_fn::<u8, 32, _>(|at| at as u8)).unwrap();
    for kind in [StreamKind::Backup, StreamKind::File] {
        for opens in [Opens::OrUnlabelled(kind), Opens::Any] {
            assert_eq!(open_as(opens, EARLIER, &key).unwrap(), b"a sealed file\n");
        }
        let refused = open_as(Opens::Only(kind), EARLIER, &key);
        assert!(matches!(refused, Err(StreamError::Unlabelled)));
        // A stream of today that says it is of the first version does not open.
        let mut lowered = seal_as(kind, b"x");
        lowered[8] = 1;
        lowered.remove(10);
        assert!(matches!(open_as(Opens::Any, &lowered, &self::key(1)), Err(StreamError::WrongKey)));
    }
}

#[test]
fn a_file_that_appears_in_the_last_moment_is_not_replaced_and_no_link_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("plain"), "x").unwrap();
    std::fs::write(path("there"), "somebody's").unwrap();
    std::os::unix::fs::symlink(path("there"), path("link")).unwrap();
    std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
    for to in ["there", "link", "dangling"] {
        let refused = seal_file(
            &StreamKey::new(key(1), LABEL),
            StreamKind::File,
            &path("plain"),
            &path(to),
            Existing::Refuse,
            &|| false,
        );
        assert!(matches!(refused, Err(StreamError::File(_))), "{to}: {refused:?}");
    }
    assert_eq!(std::fs::read(path("there")).unwrap(), b"somebody's");
    assert!(!path("nowhere").exists());
    seal_file(
        &StreamKey::new(key(1), LABEL),
        StreamKind::File,
        &path("plain"),
        &path("link"),
        Existing::Replace,
        &|| false,
    )
    .unwrap();
    assert!(path("link").symlink_metadata().unwrap().is_symlink(), "the link stays one");
    assert_ne!(std::fs::read(path("there")).unwrap(), b"somebody's");
}

/// A stream under a data key with a wrapped form of this length.
fn seal_wrapped(length: usize) -> Vec<u8> {
    let wrapped = WrappedDataKey::new(vec![9; length], Some("arn:aws:kms:x")).unwrap();
    let key = StreamKey::generated(GeneratedDataKey::new(Arc::new(key(1)), wrapped));
    let mut writer = StreamWriter::new(Vec::new(), &key, StreamKind::Backup).unwrap();
    writer.write_all(b"x").unwrap();
    writer.finish().unwrap()
}

#[test]
fn a_stream_with_a_wrapped_key_names_it_and_every_byte_of_it_counts() {
    let directory = tempfile::tempdir().unwrap();
    for length in [1, 184, 6_144] {
        let sealed = seal_wrapped(length);
        let file = directory.path().join("sealed");
        std::fs::write(&file, &sealed).unwrap();
        let header = sealed_stream::header(&file).unwrap();
        let wrapped = header.wrapped().unwrap();
        assert_eq!((wrapped.bytes(), wrapped.key_id()), (&*vec![9; length], Some("arn:aws:kms:x")));
        assert_eq!((header.kind(), header.label()), (Some(StreamKind::Backup), "arn:aws:kms:x"));
        assert_eq!(open_as(Opens::Only(StreamKind::Backup), &sealed, &key(1)).unwrap(), b"x");
        assert!(matches!(
            open_as(Opens::Only(StreamKind::File), &sealed, &key(1)),
            Err(StreamError::OtherKind)
        ));
    }
    let sealed = seal_wrapped(40);
    for position in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[position] ^= 1;
        assert!(open_as(Opens::Any, &changed, &key(1)).is_err(), "byte {position}");
        assert!(open_as(Opens::Any, &sealed[..position], &key(1)).is_err(), "{position} bytes");
    }
    // A wrapped key that no service makes.
    let at = 8 + 4 + "arn:aws:kms:x".len();
    for length in [0u16, 6_145, u16::MAX] {
        let mut changed = sealed.clone();
        changed[at..at + 2].copy_from_slice(&length.to_be_bytes());
        assert!(open_as(Opens::Any, &changed, &key(1)).is_err(), "{length}");
    }
}
