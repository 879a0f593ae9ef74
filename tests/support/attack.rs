//! What a sender beside the path throws at a port.

/// Datagrams that are not authenticated and look like DTLS: a ClientHello, a HelloVerifyRequest,
/// a fatal alert, a close_notify, and junk.
pub fn forgeries() -> Vec<Vec<u8>> {
    let mut hello = vec![1, 0, 0, 44, 0, 0, 0, 0, 0, 0, 0, 44, 254, 253];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 0, 2, 0xcc, 0xa9, 1, 0, 0, 0]);
    let mut verify = vec![3, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 23, 254, 253, 20];
    verify.extend_from_slice(&[9; 20]);
    vec![
        record(22, &hello),
        record(22, &verify),
        record(21, &[2, 40]),
        record(21, &[1, 0]),
        vec![23; 200],
    ]
}

/// A DTLS 1.2 record of epoch 0 (RFC 6347 §4.1).
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend_from_slice(&u16::try_from(body.len()).expect("short").to_be_bytes());
    record.extend_from_slice(body);
    record
}
