//! AES-GCM from its parts, to find texts that are authentic under several keys.

use aes::Aes256;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};

/// Multiplies in the field of GHASH (NIST SP 800-38D, section 6.3).
pub(crate) fn times(x: u128, y: u128) -> u128 {
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
pub(crate) struct Gcm {
    pub(crate) hash: u128,
    mask: u128,
}

impl Gcm {
    /// For an IV of 12 or of 16 bytes.
    pub(crate) fn new(key: &[u8; 32], iv: &[u8]) -> Self {
        let cipher = Aes256::new(key.into());
        let block = |bytes: u128| {
            let mut block = Block::<Aes256>::from(bytes.to_be_bytes());
            cipher.encrypt_block(&mut block);
            u128::from_be_bytes(block.into())
        };
        let hash = block(0);
        let mut first = [0; 16];
        first[..iv.len()].copy_from_slice(iv);
        let first = u128::from_be_bytes(first);
        // The first counter block (NIST SP 800-38D, section 7.1, step 2): a longer IV is hashed with its length in bits.
        let first = if iv.len() == 12 { first | 1 } else { times(times(first, hash) ^ 128, hash) };
        Self { hash, mask: block(first) }
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
pub(crate) fn for_all(gcms: &[Gcm], aad: &[u8]) -> Vec<u8> {
    let (equations, mut blocks) = (gcms.len() - 1, vec![0x5a; gcms.len()]);
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
