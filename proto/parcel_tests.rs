//! Parcels under test: sealing, opening, padding, and what must not open.

use super::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([8; 32])
}

fn header(secret: &SealSecret) -> Header {
    Header {
        network: NetworkFp([1; 32]),
        from: DeviceFp([2; 32]),
        to: DeviceFp([3; 32]),
        kind: Kind::Control,
        key_id: secret.public().key_id(),
        ttl_s: 3600,
    }
}

fn content(len: usize) -> Content {
    Content {
        envelope: vec![0xee; len],
        chain: Vec::new(),
    }
}

#[test]
fn a_parcel_opens_with_its_key_only() {
    let secret = SealSecret::generate(&mut rng());
    let bytes = seal(
        &header(&secret),
        &secret.public(),
        &content(100),
        &mut rng(),
    )
    .expect("seal");
    let parcel = Parcel::parse(&bytes).expect("parse");
    assert_eq!(parcel.header(), &header(&secret));
    assert_eq!(parcel.open(&secret), Ok(content(100)));
    let other = SealSecret::from_bytes([9; 32]);
    assert_eq!(parcel.open(&other), Err(ParcelError::DoesNotOpen));
}

#[test]
fn the_header_is_sealed_in() {
    let secret = SealSecret::generate(&mut rng());
    let bytes = seal(&header(&secret), &secret.public(), &content(9), &mut rng()).expect("seal");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let opened = Parcel::parse(&changed).and_then(|p| p.open(&secret));
        assert!(opened.is_err(), "byte {at}");
    }
}

#[test]
fn every_length_lands_in_a_bucket() {
    let secret = SealSecret::generate(&mut rng());
    let mut largest = 0;
    for len in (0..15_900).step_by(61) {
        if let Ok(bytes) = seal(
            &header(&secret),
            &secret.public(),
            &content(len),
            &mut rng(),
        ) {
            assert!(
                PARCEL_BUCKETS.contains(&bytes.len()),
                "{len} became {}",
                bytes.len()
            );
            largest = len;
        }
    }
    assert!(
        largest > crate::limits::ENVELOPE_LEN_MAX,
        "an envelope of full size fits"
    );
    let too_large = seal(
        &header(&secret),
        &secret.public(),
        &content(15_900),
        &mut rng(),
    );
    assert_eq!(too_large, Err(SealError::TooLarge));
}

#[test]
fn a_small_order_key_is_refused() {
    let secret = SealSecret::generate(&mut rng());
    let zero = SealPublic([0; 32]);
    let sealed = seal(&header(&secret), &zero, &content(10), &mut rng());
    assert_eq!(sealed, Err(SealError::BadKey));
}

#[test]
fn ids_name_the_parts() {
    let secret = SealSecret::generate(&mut rng());
    let one = seal(&header(&secret), &secret.public(), &content(10), &mut rng()).expect("seal");
    let two = seal(&header(&secret), &secret.public(), &content(11), &mut rng()).expect("seal");
    let id = |bytes: &[u8]| Parcel::parse(bytes).expect("parse").id();
    assert_eq!(id(&one), id(&one));
    assert_ne!(id(&one), id(&two));
}

#[test]
fn oversize_and_garbage_are_malformed() {
    assert_eq!(
        Parcel::parse(&[0; PARCEL_LEN_MAX + 1]).err(),
        Some(ParcelError::Malformed)
    );
    for len in 0..600 {
        assert!(Parcel::parse(&vec![0xff; len]).is_err());
    }
}
