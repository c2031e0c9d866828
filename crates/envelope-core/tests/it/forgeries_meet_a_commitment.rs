//! The forgeries that are known against AES-GCM without a commitment, tried against each format.
//!
//! All of them need keys that a thief of the database does not have. Formats 1, 2, 5 and version 1 of format 6 are fixed by
//! the programs that read them, and do not withstand; version 2 of format 6 and format 7 do.

use std::sync::Arc;

use aes::Aes256;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use envelope_core::format::node_json::{self, Accepted};
use envelope_core::format::{bound, direct_aes, kms_envelope};
use envelope_core::{Binding, DataKey, OpenError, Purpose, WrappedDataKey};
use hkdf::Hkdf;
use secrecy::ExposeSecret;
use sha2::Sha512;

use crate::support::ANY;
use crate::support::memory::OneKey;

const NONCE: [u8; 12] = [7; 12];

/// Multiplies in the field of GHASH (NIST SP 800-38D, section 6.3).
fn times(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0, y);
    for bit in (0..128).rev() {
        if x >> bit & 1 == 1 {
            z ^= v;
        }
        v = if v & 1 == 1 { v >> 1 ^ 0xe1 << 120 } else { v >> 1 };
    }
    z
}

const ONE: u128 = 1 << 127;

fn power(x: u128, exponent: u32) -> u128 {
    (0..exponent).fold(ONE, |product, _| times(product, x))
}

/// x to the power of 2^128 - 2.
fn inverse(x: u128) -> u128 {
    let (mut result, mut square) = (ONE, x);
    for _ in 1..128 {
        square = times(square, square);
        result = times(result, square);
    }
    result
}

/// The two values that a key contributes to a tag: the hash key, and the block that masks it.
struct Gcm {
    hash: u128,
    mask: u128,
}

impl Gcm {
    fn new(key: &[u8; 32], nonce: [u8; 12]) -> Self {
        let cipher = Aes256::new(key.into());
        let block = |bytes: [u8; 16]| {
            let mut block = Block::<Aes256>::from(bytes);
            cipher.encrypt_block(&mut block);
            u128::from_be_bytes(block.into())
        };
        let mut first = [0; 16];
        first[..12].copy_from_slice(&nonce);
        first[15] = 1;
        Self { hash: block([0; 16]), mask: block(first) }
    }

    /// The tag of associated data and a ciphertext, padded to blocks.
    fn tag(&self, aad: &[u8], ciphertext: &[u128]) -> u128 {
        let lengths = (aad.len() as u128 * 8) << 64 | (ciphertext.len() as u128 * 128);
        let blocks = aad.chunks(16).map(|chunk| {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            u128::from_be_bytes(block)
        });
        let all = blocks.chain(ciphertext.iter().copied()).chain([lengths]);
        all.fold(0, |sum, block| times(sum ^ block, self.hash)) ^ self.mask
    }
}

/// A ciphertext, with its tag, that is authentic under each of the keys: a linear equation for each key after the first.
fn for_all(keys: &[[u8; 32]], nonce: [u8; 12], aad: &[u8]) -> Vec<u8> {
    let gcms: Vec<Gcm> = keys.iter().map(|key| Gcm::new(key, nonce)).collect();
    let (equations, mut blocks) = (keys.len() - 1, vec![0x5a; keys.len() + 1]);
    blocks[1..=equations].fill(0);
    let (last, length) = (&gcms[equations], u32::try_from(blocks.len()).unwrap());
    // Block i of n enters with the power n - i + 1 of the hash key, counted from 0.
    let weight = |gcm: &Gcm, at: u32| power(gcm.hash, length - at + 1);
    let mut rows: Vec<Vec<u128>> = gcms[..equations]
        .iter()
        .map(|gcm| {
            let unknown =
                (1..=u32::try_from(equations).unwrap()).map(|at| weight(gcm, at) ^ weight(last, at));
            unknown.chain([gcm.tag(aad, &blocks) ^ last.tag(aad, &blocks)]).collect()
        })
        .collect();
    for at in 0..equations {
        let pivot = inverse(rows[at][at]);
        rows[at].iter_mut().for_each(|cell| *cell = times(*cell, pivot));
        for other in (0..equations).filter(|other| *other != at) {
            let (factor, source) = (rows[other][at], rows[at].clone());
            rows[other].iter_mut().zip(source).for_each(|(cell, value)| *cell ^= times(value, factor));
        }
    }
    for at in 0..equations {
        blocks[at + 1] = rows[at][equations];
    }
    let tag = gcms[0].tag(aad, &blocks);
    assert!(gcms.iter().all(|gcm| gcm.tag(aad, &blocks) == tag));
    blocks.iter().chain([&tag]).flat_map(|block| block.to_be_bytes()).collect()
}

fn keys(number: u8) -> Vec<[u8; 32]> {
    (1..=number).map(|n| [n; 32]).collect()
}

fn key(bytes: &[u8; 32]) -> DataKey {
    DataKey::from_slice(bytes).unwrap()
}

fn ring(bytes: &[u8; 32]) -> OneKey {
    OneKey("ring-1".into(), Arc::new(key(bytes)))
}

/// The opened bytes are no text, which shows only after they were found authentic.
fn is_authentic<T>(opened: Result<T, OpenError>) -> bool {
    match opened {
        Ok(_) | Err(OpenError::NotText) => true,
        Err(OpenError::NotAuthentic) => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn formats_without_a_commitment_have_texts_for_two_and_for_many_keys() {
    for number in [2, 5] {
        let keys = keys(number);
        let forged = for_all(&keys, NONCE, &[]);
        let sealed = STANDARD.encode([&NONCE[..], &forged].concat());
        let (ciphertext, tag) = forged.split_at(forged.len() - 16);
        let json = format!(
            r#"{{"v":1,"alg":"aes-256-gcm","keyId":"ring-1","iv":"{}","tag":"{}","ciphertext":"{}","aad":null,"timestamp":7}}"#,
            STANDARD.encode(NONCE),
            STANDARD.encode(tag),
            STANDARD.encode(ciphertext)
        );
        for bytes in &keys {
            assert!(is_authentic(direct_aes::open(&key(bytes), &sealed)), "format 1");
            let envelope = kms_envelope::Envelope::parse(&format!("kms:v2:AAAA:{sealed}")).unwrap();
            assert!(is_authentic(envelope.open(&key(bytes))), "format 2");
            assert!(is_authentic(node_json::open(&ring(bytes), ANY, None, &json)), "format 6, version 1");
        }
        assert!(!is_authentic(direct_aes::open(&key(&[99; 32]), &sealed)), "and for no other key");
    }
}

const LABEL: &[u8] = b"tokenseal json envelope v2\0";
const MESSAGE_ID: [u8; 32] = [3; 32];

fn derived(bytes: &[u8; 32], info: &[&[u8]]) -> [u8; 32] {
    let mut out = [0; 32];
    Hkdf::<Sha512>::new(Some(&MESSAGE_ID), bytes).expand_multi_info(info, &mut out).unwrap();
    out
}

/// The associated data of a secret in version 2 of the JSON envelope.
fn associated(key_id: &str, aad: &[u8]) -> Vec<u8> {
    let length = u16::try_from(key_id.len()).unwrap().to_be_bytes();
    let time = 7_u64.to_be_bytes();
    [LABEL, b"secret\0", &length, key_id.as_bytes(), &MESSAGE_ID, &time, &[1], aad].concat()
}

fn json_v2(key_id: &str, aad: &[u8], commitment: &[u8], sealed: &[u8]) -> String {
    let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
    format!(
        r#"{{"v":2,"alg":"aes-256-gcm-hkdf-sha512-commit","purpose":"secret","keyId":"{key_id}","messageId":"{}","commitment":"{}","tag":"{}","ciphertext":"{}","aad":"{}","timestamp":7}}"#,
        STANDARD.encode(MESSAGE_ID),
        STANDARD.encode(commitment),
        STANDARD.encode(tag),
        STANDARD.encode(ciphertext),
        STANDARD.encode(aad)
    )
}

#[test]
fn version_2_of_the_json_envelope_opens_under_one_key_only() {
    for number in [2, 5] {
        let keys = keys(number);
        let associated = associated("ring-1", b"name");
        let content: Vec<_> =
            keys.iter().map(|key| derived(key, &[LABEL, b"secret", b"\0content key"])).collect();
        let forged = for_all(&content, [0; 12], &associated);
        for committed in &keys {
            let commitment = derived(committed, &[LABEL, b"secret", b"\0commitment\0", &associated]);
            let text = json_v2("ring-1", b"name", &commitment, &forged);
            for bytes in &keys {
                let accepted = Accepted::Only(Purpose::Secret);
                let opened = node_json::open(&ring(bytes), accepted, Some(b"name"), &text);
                assert_eq!(is_authentic(opened), bytes == committed);
            }
        }
    }
}

#[test]
fn version_2_of_the_json_envelope_does_not_open_under_another_key_of_the_ring_nor_for_another_context() {
    let bytes = [1; 32];
    let ring = ring(&bytes);
    let accepted = Accepted::Only(Purpose::Secret);
    let text = node_json::seal(&ring, Purpose::Secret, Some(b"name"), b"value", 7);
    let two = OneKey("ring-2".into(), ring.1.clone());
    let exchanged = text.replace("ring-1", "ring-2");
    assert!(
        !is_authentic(node_json::open(&two, accepted, Some(b"name"), &exchanged)),
        "the same key by another id"
    );

    // Under a known key, associated data with the same tag are found by one division. Version 1 takes them.
    let sealed = node_json::seal_unlabelled(&ring, Some(&[0; 32]), b"sixteen bytes...", 7);
    let fields: serde_json::Value = serde_json::from_str(&sealed).unwrap();
    let iv: [u8; 12] = STANDARD.decode(fields["iv"].as_str().unwrap()).unwrap().try_into().unwrap();
    let hash = Gcm::new(&bytes, iv).hash;
    // A change of the first of two blocks is made up for by one of the second.
    let other = [1_u128.to_be_bytes(), times(1, hash).to_be_bytes()].concat();
    let claim = format!("\"aad\":\"{}\"", STANDARD.encode(&other));
    let old = format!("\"aad\":\"{}\"", STANDARD.encode([0; 32]));
    assert!(is_authentic(node_json::open(&ring, ANY, Some(&other), &sealed.replace(&old, &claim))));

    let aad = [0; 32];
    let moved = node_json::seal(&ring, Purpose::Secret, Some(&aad), b"sixteen bytes...", 7);
    let exchanged = moved.replace(&STANDARD.encode(aad), &STANDARD.encode(&other));
    assert!(!is_authentic(node_json::open(&ring, accepted, Some(&other), &exchanged)));
}

#[test]
fn a_bound_envelope_opens_under_one_key_only() {
    let (keys, wrapped) = (keys(2), WrappedDataKey::new(*b"wrapped", None).unwrap());
    let binding = Binding::new("t", "c").key("id", "1");
    for suite in [bound::Suite::Aes256Gcm, bound::Suite::ChaCha20Poly1305] {
        let text = bound::seal(suite, &key(&keys[0]), &wrapped, &binding, b"token").unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix("kms:v3:").unwrap()).unwrap();
        let open = |bytes: &[u8], key: &DataKey| {
            let text = format!("kms:v3:{}", URL_SAFE_NO_PAD.encode(bytes));
            bound::Envelope::parse(&text)
                .unwrap()
                .open(key, &binding)
                .map(|opened| opened.expose_secret().to_owned())
        };
        assert!(is_authentic(open(&bytes, &key(&keys[0]))) && !is_authentic(open(&bytes, &key(&keys[1]))));
        // Whatever the payload is, the commitment in the header is to one key.
        let id: [u8; 32] = bytes[4..36].try_into().unwrap();
        let mut other = [0; 32];
        Hkdf::<Sha512>::new(Some(&id), &keys[1]).expand(b"COMMITKEY", &mut other).unwrap();
        bytes[36..68].copy_from_slice(&other);
        assert!(keys.iter().all(|bytes_of_key| !is_authentic(open(&bytes, &key(bytes_of_key)))));
    }
}
