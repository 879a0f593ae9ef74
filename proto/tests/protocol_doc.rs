//! `docs/PROTOCOL.md` against the code: its tables of payload types, limits, error codes and vector
//! files say what is so.

use crate::code::ErrorCode;
use crate::limits::*;
use crate::sign::domain;
use crate::tests::samples;
use std::collections::{BTreeMap, BTreeSet};

fn doc() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PROTOCOL.md");
    std::fs::read_to_string(path).expect("docs/PROTOCOL.md")
}

/// Cells of the table rows below the heading that begins with `heading`, backticks and spaces off.
fn rows(doc: &str, heading: &str) -> Vec<Vec<String>> {
    let section = doc
        .split("\n## ")
        .find(|s| s.starts_with(heading))
        .expect("the section");
    let cells = |line: &str| {
        let inner = line.trim().trim_matches('|');
        inner
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect()
    };
    section
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .collect()
}

macro_rules! values {
    ($($name:ident),* $(,)?) => {
        BTreeMap::from([$((stringify!($name).to_owned(), u128::from($name as u64))),*])
    };
}

/// Every limit that is one number.
fn limits() -> BTreeMap<String, u128> {
    values![
        LABEL_LEN_MAX,
        PAYLOAD_LEN_MAX,
        ENVELOPE_LEN_MAX,
        PARCEL_LEN_MAX,
        TEXT_LEN_MAX,
        CHAIN_LEN_MAX,
        DESCRIPTOR_LEN_MAX,
        DEVICES_PER_USER_MAX,
        REGISTRAR_KEYS_MAX,
        ORIGINS_MAX,
        ORIGIN_LEN_MAX,
        REVOCATIONS_MAX,
        SDP_LEN_MAX,
        CANDIDATE_LEN_MAX,
        CANDIDATES_MAX,
        SESSIONS_PENDING_MAX,
        SIGNAL_FRAME_LEN_MAX,
        CUSTODIANS_MAX,
        STORE_PAGE_MAX,
        STORE_CURSOR_LEN_MAX,
        STORE_TICKET_LEN_MAX,
        FRAME_LEN_DEFAULT,
        FRAME_LEN_MAX,
        FRAME_ITEMS_MAX,
        ACK_ITEMS_MAX,
        COORDINATORS_NAMED_MAX,
        INVITE_USES_MAX,
        INVITE_TTL_MAX_S,
        PARCEL_TTL_MAX_S,
        MESSAGE_EXPIRY_MS,
        BUNDLE_ROTATE_MS,
        BUNDLE_KEEP_MS,
        MEMBERSHIP_TTL_MS,
        MEMBERSHIP_GRACE_MS,
        HELLO_TIMEOUT_MS,
        SESSION_TIMEOUT_MS,
        CHALLENGE_TTL_MS,
        TOKEN_TTL_S,
        PRESENCE_TTL_S,
        COORDINATOR_TTL_S,
        HEARTBEAT_S,
        SENT_AT_AHEAD_MAX_MS,
        IDEMPOTENCY_KEY_LEN_MAX,
        FILE_LEN_MAX,
        FILE_CHUNKS_MAX,
        FILE_CHUNK_LEN_MIN,
        FILE_CHUNK_LEN_MAX,
        FILE_PROOF_MAX,
        FILE_FRAME_LEN_MAX,
        FILE_PART_LEN,
        FILE_NAME_LEN_MAX,
        SMALL_FILE_LEN_MAX,
        FOLDER_FILES_MAX,
        FOLDER_LIST_LEN_MAX,
        FOLDER_PATH_LEN_MAX,
        FOLDER_DEPTH_MAX,
        FILE_RANGES_MAX,
    ]
}

/// Digits in groups of three.
fn grouped(value: u128) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(as_text).collect();
    groups.join(",")
}

fn as_text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).expect("digits")
}

#[test]
fn every_limit_stands_in_the_table_with_its_value() {
    let mut want: BTreeMap<String, String> = limits()
        .into_iter()
        .map(|(name, value)| (name, grouped(value)))
        .collect();
    let buckets = PARCEL_BUCKETS
        .map(|bucket| grouped(bucket as u128))
        .join(" ");
    want.insert("PARCEL_BUCKETS".to_owned(), buckets);

    let source = include_str!("../limits.rs");
    let named = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "));
    let named: BTreeSet<&str> = named.filter_map(|rest| rest.split(':').next()).collect();
    let known: BTreeSet<&str> = want.keys().map(String::as_str).collect();
    assert_eq!(named, known, "limits.rs against this test");

    let table = rows(&doc(), "16. ").into_iter().skip(2);
    let table: BTreeMap<String, String> = table
        .map(|cells| (cells[0].clone(), cells[1].clone()))
        .collect();
    assert_eq!(table, want, "docs/PROTOCOL.md against limits.rs");
}

#[test]
fn every_payload_type_stands_in_the_table() {
    let rows = rows(&doc(), "4. ");
    let table: BTreeSet<String> = rows
        .iter()
        .filter(|cells| cells.len() == 6)
        .map(|cells| cells[..3].join(" "))
        .collect();
    for sample in samples::all() {
        let message = sample.message.trim_start_matches("beeline.");
        let kind = sample.payload_type;
        let row = format!("{} {message} {}", kind as i32, domain(kind));
        assert!(table.contains(&row), "no row `{row}`");
    }
    // The head and the line under it.
    assert_eq!(table.len(), samples::types().len() + 2);
}

#[test]
fn every_error_code_stands_in_the_table() {
    let table: Vec<String> = rows(&doc(), "17. ")
        .iter()
        .skip(2)
        .map(|cells| cells[..4].join(" "))
        .collect();
    let row = |code: ErrorCode| {
        format!(
            "{} {} {} {}",
            code.name(),
            code.grpc(),
            code.http(),
            code.close()
        )
    };
    assert_eq!(table, ErrorCode::all().map(row).collect::<Vec<_>>());
}

#[test]
fn every_vector_file_is_named() {
    let doc = doc();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/testdata");
    let mut found = 0;
    for entry in std::fs::read_dir(folder).expect("proto/testdata") {
        let name = entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned();
        assert!(
            doc.contains(&format!("`{name}`")),
            "{name} is not in docs/PROTOCOL.md"
        );
        found += 1;
    }
    assert!(found >= 10, "found only {found} files");
}
