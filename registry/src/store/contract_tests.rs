//! What a store must do, told once and held against both. PostgreSQL comes from
//! `BEELINE_TEST_POSTGRES` (a URL whose role may create databases); without it the tests fail.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop at the line that says why"
)]

use super::postgres::PostgresStore;
use super::rows::{DeviceRow, Seed};
use super::sqlite::SqliteStore;
use super::*;
use beeline_proto::id::{NetworkFp, UserFp};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use std::sync::Arc;

/// A store of its own, and what must outlive it.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    _dir: Option<tempfile::TempDir>,
}

pub(crate) fn sqlite() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("data"), 1, None).unwrap();
    Fixture {
        store: Arc::new(store),
        _dir: Some(dir),
    }
}

/// The URL of a database made for one test.
pub(crate) async fn fresh_database() -> String {
    let url = std::env::var("BEELINE_TEST_POSTGRES")
        .expect("BEELINE_TEST_POSTGRES must name a PostgreSQL server; tests/run starts one");
    let options: PgConnectOptions = url.parse().unwrap();
    let mut admin = options.connect().await.unwrap();
    let name = crate::random::label("beeline").unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE template0"));
    sqlx::query(create).execute(&mut admin).await.unwrap();
    let (server, _) = url.rsplit_once('/').expect("the URL names a database");
    format!("{server}/{name}")
}

pub(crate) async fn postgres() -> Fixture {
    let store = PostgresStore::open(&fresh_database().await, 1)
        .await
        .unwrap();
    Fixture {
        store: Arc::new(store),
        _dir: None,
    }
}

macro_rules! contract {
    ($($name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                let fixture = super::sqlite();
                super::$name(Arc::clone(&fixture.store)).await;
                fixture.store.close().await;
            })*
            use std::sync::Arc;
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                let fixture = super::postgres().await;
                super::$name(Arc::clone(&fixture.store)).await;
                fixture.store.close().await;
            })*
            use std::sync::Arc;
        }
    };
}

contract! {
    token_keys_are_kept_newest_first
    networks_have_one_label_and_one_fingerprint
    descriptors_are_replaced_only_from_the_known_version
    an_invite_is_used_as_often_as_it_says
    joins_at_the_same_moment_share_no_slot
    two_users_claiming_one_handle_at_once_leave_one
    the_same_join_again_finds_its_user
    a_refused_join_leaves_nothing
    ended_and_unknown_invites_admit_nobody
    invites_are_bounded_and_forgotten
    device_lists_are_replaced_only_from_the_known_version
    device_labels_and_keys_have_one_owner
    revoking_marks_the_user_and_replaces_the_list_together
    users_come_in_pages_by_the_bytes_of_their_handles
    leases_are_upserted_and_never_go_back
    seen_rows_change_only_what_is_known
    live_leases_come_in_pages
    a_closed_store_says_so
}

fn network(label: &str, key: u8) -> NewNetwork {
    NewNetwork {
        label: label.into(),
        fp: NetworkFp([key; 32]),
        descriptor: vec![key, 1],
        descriptor_version: 1,
        registrar: Seed::new([key; 32]),
        authority: key.is_multiple_of(2).then(|| Seed::new([key; 32])),
        created_ms: 5,
    }
}

async fn made(store: &Arc<dyn Store>) -> i64 {
    match store.create_network(network("home", 2)).await.unwrap() {
        Created::New(row) => row.network_no,
        other => panic!("{other:?}"),
    }
}

fn invite(network_no: i64, key: u8, uses: u32) -> InviteRow {
    InviteRow {
        network_no,
        key: [key; 32],
        role: 2,
        uses,
        expires_ms: 1_000,
        envelope: vec![key],
    }
}

fn join(network_no: i64, invite: u8, name: &str) -> JoinRow {
    let mut fp = [0; 32];
    fp[..name.len()].copy_from_slice(name.as_bytes());
    JoinRow {
        network_no,
        invite_key: [invite; 32],
        handle: name.into(),
        user_fp: UserFp(fp),
        device_list: format!("list of {name}").into_bytes(),
        list_version: 1,
        devices: vec![DeviceRow {
            label: format!("{name}_device"),
            fp,
        }],
        now_ms: 500,
        sign: Arc::new(|role, serial| format!("{role}/{serial}").into_bytes()),
    }
}

/// A network with an invite for many.
async fn open_house(store: &Arc<dyn Store>) -> i64 {
    let network_no = made(store).await;
    let written = store
        .create_invite(invite(network_no, 1, 1_000), 0, 10)
        .await;
    assert_eq!(written, Ok(Written::Done));
    network_no
}

async fn joined(store: &Arc<dyn Store>, network_no: i64, name: &str) -> UserRow {
    match store.join(join(network_no, 1, name)).await.unwrap() {
        JoinOutcome::Joined(user) => user,
        other => panic!("{other:?}"),
    }
}

async fn token_keys_are_kept_newest_first(store: Arc<dyn Store>) {
    for n in 1..=3u8 {
        let key = TokenKeyRow {
            seed: Seed::new([n; 32]),
            created_ms: u64::from(n),
        };
        store.add_token_key(key, 2).await.unwrap();
    }
    let keys = store.token_keys().await.unwrap();
    let kept: Vec<_> = keys.iter().map(|k| (k.seed.0[0], k.created_ms)).collect();
    assert_eq!(kept, [(3, 3), (2, 2)]);
}

async fn networks_have_one_label_and_one_fingerprint(store: Arc<dyn Store>) {
    let network_no = made(&store).await;
    let again = store.create_network(network("elsewhere", 2)).await.unwrap();
    assert!(matches!(again, Created::Known(row) if row.network_no == network_no));
    let taken = store.create_network(network("home", 3)).await.unwrap();
    assert!(matches!(taken, Created::LabelTaken));
    let Created::New(third) = store.create_network(network("third", 3)).await.unwrap() else {
        panic!("a new network");
    };
    assert!(third.authority.is_none());
    let rows = store.networks().await.unwrap();
    assert_eq!(
        rows.iter().map(|r| r.label.as_str()).collect::<Vec<_>>(),
        ["home", "third"]
    );
    assert_eq!(*rows[0].registrar.0, [2; 32]);
    assert_eq!(rows[0].authority.as_ref().map(|s| *s.0), Some([2; 32]));
    assert!(rows[0].revocations.is_empty());
}

async fn descriptors_are_replaced_only_from_the_known_version(store: Arc<dyn Store>) {
    let n = made(&store).await;
    assert_eq!(
        store.put_descriptor(n, 1, 4, vec![4]).await,
        Ok(Written::Done)
    );
    assert_eq!(
        store.put_descriptor(n, 1, 5, vec![5]).await,
        Ok(Written::Stale)
    );
    assert_eq!(store.networks().await.unwrap()[0].descriptor, [4]);
}

async fn an_invite_is_used_as_often_as_it_says(store: Arc<dyn Store>) {
    let n = made(&store).await;
    store.create_invite(invite(n, 1, 2), 0, 10).await.unwrap();
    let first = joined(&store, n, "a").await;
    let second = joined(&store, n, "b").await;
    assert_eq!(
        (first.membership, second.membership),
        (b"2/1".to_vec(), b"2/2".to_vec())
    );
    let third = store.join(join(n, 1, "c")).await.unwrap();
    assert_eq!(third, JoinOutcome::InviteInvalid);
}

async fn joins_at_the_same_moment_share_no_slot(store: Arc<dyn Store>) {
    let n = made(&store).await;
    store.create_invite(invite(n, 1, 3), 0, 10).await.unwrap();
    let names: Vec<String> = (0..12).map(|i| format!("user{i}")).collect();
    let joins = names.iter().map(|name| store.join(join(n, 1, name)));
    let mut serials = Vec::new();
    for outcome in futures::future::join_all(joins).await {
        match outcome.unwrap() {
            JoinOutcome::Joined(user) => serials.push(user.membership),
            JoinOutcome::InviteInvalid => {}
            other => panic!("{other:?}"),
        }
    }
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 3);
}

async fn two_users_claiming_one_handle_at_once_leave_one(store: Arc<dyn Store>) {
    let n = open_house(&store).await;
    for round in 0..5u8 {
        let key = 10 + round;
        store
            .create_invite(invite(n, key, 1_000), 0, 100)
            .await
            .unwrap();
        let claims = (0..4u8).map(|i| {
            let name = format!("name{round}");
            // Different invites too, so that nothing but the handle is shared.
            let mut claim = join(n, if i % 2 == 0 { 1 } else { key }, &name);
            claim.user_fp = UserFp([100 + 10 * round + i; 32]);
            claim.devices[0].fp = claim.user_fp.0;
            claim.devices[0].label = format!("{name}_{i}");
            store.join(claim)
        });
        let outcomes = futures::future::join_all(claims).await;
        let won = outcomes
            .iter()
            .filter(|o| matches!(o, Ok(JoinOutcome::Joined(_))))
            .count();
        let lost = outcomes
            .iter()
            .filter(|o| matches!(o, Ok(JoinOutcome::HandleTaken)))
            .count();
        assert_eq!((won, lost), (1, 3), "{outcomes:?}");
    }
}

async fn the_same_join_again_finds_its_user(store: Arc<dyn Store>) {
    let n = made(&store).await;
    store.create_invite(invite(n, 1, 1), 0, 10).await.unwrap();
    let user = joined(&store, n, "a").await;
    let again = store.join(join(n, 1, "a")).await.unwrap();
    assert_eq!(again, JoinOutcome::Again(user.clone()));
    let mut late = join(n, 1, "a");
    late.now_ms = 2_000;
    assert_eq!(store.join(late).await.unwrap(), JoinOutcome::Again(user));
    let mut other_list = join(n, 1, "a");
    other_list.device_list = vec![1];
    assert_eq!(store.join(other_list).await.unwrap(), JoinOutcome::KeyTaken);
    let mut other_name = join(n, 1, "a");
    other_name.handle = "b".into();
    assert_eq!(store.join(other_name).await.unwrap(), JoinOutcome::KeyTaken);
}

async fn a_refused_join_leaves_nothing(store: Arc<dyn Store>) {
    let n = made(&store).await;
    store.create_invite(invite(n, 1, 2), 0, 10).await.unwrap();
    joined(&store, n, "a").await;
    let mut thief = join(n, 1, "b");
    thief.devices.push(DeviceRow {
        label: "a_device".into(),
        fp: [9; 32],
    });
    let outcome = store.join(thief).await.unwrap();
    assert_eq!(outcome, JoinOutcome::DeviceTaken("a_device".into()));
    assert_eq!(store.user(n, "b").await.unwrap(), None);
    assert_eq!(store.user_of_device(n, "b_device").await.unwrap(), None);
    // Neither the use nor the serial was spent.
    assert_eq!(joined(&store, n, "b").await.membership, b"2/2");
}

async fn ended_and_unknown_invites_admit_nobody(store: Arc<dyn Store>) {
    let n = made(&store).await;
    store.create_invite(invite(n, 1, 2), 0, 10).await.unwrap();
    let mut late = join(n, 1, "a");
    late.now_ms = 1_000;
    assert_eq!(store.join(late).await.unwrap(), JoinOutcome::InviteInvalid);
    let unknown = store.join(join(n, 2, "a")).await.unwrap();
    assert_eq!(unknown, JoinOutcome::InviteInvalid);
    let elsewhere = store.join(join(n + 1, 1, "a")).await.unwrap();
    assert_eq!(elsewhere, JoinOutcome::InviteInvalid);
}

async fn invites_are_bounded_and_forgotten(store: Arc<dyn Store>) {
    let n = made(&store).await;
    for key in 1..=3 {
        assert_eq!(
            store.create_invite(invite(n, key, 1), 0, 3).await,
            Ok(Written::Done)
        );
    }
    assert_eq!(
        store.create_invite(invite(n, 4, 1), 0, 3).await,
        Ok(Written::Taken)
    );
    assert_eq!(
        store.create_invite(invite(n, 3, 1), 0, 9).await,
        Ok(Written::Taken),
        "same key"
    );
    joined(&store, n, "a").await;
    assert_eq!(
        store.create_invite(invite(n, 4, 1), 1_001, 3).await,
        Ok(Written::Done)
    );
    assert_eq!(
        store.join(join(n, 2, "b")).await.unwrap(),
        JoinOutcome::InviteInvalid
    );
    assert!(
        store.user(n, "a").await.unwrap().is_some(),
        "members outlive their invite"
    );
}

fn list(user: &UserRow, known: u64, version: u64, devices: &[(&str, u8)]) -> NewDeviceList {
    let row = |(label, fp): &(&str, u8)| DeviceRow {
        label: (*label).into(),
        fp: [*fp; 32],
    };
    NewDeviceList {
        network_no: user.network_no,
        user_no: user.user_no,
        known,
        version,
        device_list: format!("version {version}").into_bytes(),
        devices: devices.iter().map(row).collect(),
    }
}

async fn device_lists_are_replaced_only_from_the_known_version(store: Arc<dyn Store>) {
    let n = open_house(&store).await;
    let user = joined(&store, n, "a").await;
    let put = async |new| store.put_device_list(new).await.unwrap();
    assert_eq!(
        put(list(&user, 1, 2, &[("x", 1), ("y", 2)])).await,
        Written::Done
    );
    assert_eq!(put(list(&user, 1, 3, &[("z", 3)])).await, Written::Stale);
    let now = store.user_of_device(n, "y").await.unwrap().unwrap();
    assert_eq!(
        (now.user_no, now.device_list),
        (user.user_no, b"version 2".to_vec())
    );
    assert_eq!(
        store.user_of_device(n, "a_device").await.unwrap(),
        None,
        "left out"
    );
    assert_eq!(store.user_of_device(n, "z").await.unwrap(), None);
    // Labels and keys may change places within one user's list.
    assert_eq!(
        put(list(&user, 2, 3, &[("x", 2), ("y", 1)])).await,
        Written::Done
    );
}

async fn device_labels_and_keys_have_one_owner(store: Arc<dyn Store>) {
    let n = open_house(&store).await;
    let a = joined(&store, n, "a").await;
    let b = joined(&store, n, "b").await;
    let put = async |new| store.put_device_list(new).await.unwrap();
    assert_eq!(put(list(&a, 1, 2, &[("x", 1)])).await, Written::Done);
    assert_eq!(
        put(list(&b, 1, 2, &[("q", 7), ("x", 2)])).await,
        Written::Taken,
        "label"
    );
    assert_eq!(
        put(list(&b, 1, 2, &[("q", 7), ("w", 1)])).await,
        Written::Taken,
        "key"
    );
    let kept = store.user_of_device(n, "b_device").await.unwrap();
    assert_eq!(kept.map(|u| u.device_list), Some(b"list of b".to_vec()));
    // Once let go of, it may be taken.
    assert_eq!(put(list(&a, 2, 3, &[("other", 5)])).await, Written::Done);
    assert_eq!(put(list(&b, 1, 2, &[("x", 1)])).await, Written::Done);
}

async fn revoking_marks_the_user_and_replaces_the_list_together(store: Arc<dyn Store>) {
    let n = open_house(&store).await;
    let user = joined(&store, n, "a").await;
    let other = joined(&store, n, "b").await;
    let revoke = async |no, known, byte| store.revoke(n, no, known, vec![byte]).await.unwrap();
    assert_eq!(revoke(user.user_no, 0, 1).await, Written::Done);
    assert_eq!(
        revoke(user.user_no, 1, 2).await,
        Written::Stale,
        "revoked already"
    );
    assert_eq!(
        revoke(other.user_no, 0, 3).await,
        Written::Stale,
        "older list"
    );
    assert!(!store.user(n, "b").await.unwrap().unwrap().revoked);
    assert!(store.user(n, "a").await.unwrap().unwrap().revoked);
    let row = store.networks().await.unwrap().remove(0);
    assert_eq!((row.revocations, row.revocations_version), (vec![1], 1));
    assert_eq!(
        store.put_membership(user.user_no, vec![1]).await,
        Ok(Written::Stale)
    );
    assert_eq!(
        store.put_membership(other.user_no, vec![1]).await,
        Ok(Written::Done)
    );
    assert_eq!(store.user(n, "b").await.unwrap().unwrap().membership, [1]);
    let again = store.join(join(n, 1, "a")).await.unwrap();
    assert_eq!(again, JoinOutcome::Revoked);
    let put = store.put_device_list(list(&user, 1, 2, &[("x", 1)])).await;
    assert_eq!(put, Ok(Written::Stale));
}

async fn users_come_in_pages_by_the_bytes_of_their_handles(store: Arc<dyn Store>) {
    let n = open_house(&store).await;
    for name in ["b", "a-1", "B", "a_1", "a1", "Z9"] {
        joined(&store, n, name).await;
    }
    let mut names: Vec<String> = Vec::new();
    loop {
        let after = names.last().cloned().unwrap_or_default();
        let page = store.users(n, &after, 4).await.unwrap();
        assert!(page.len() <= 4);
        if page.is_empty() {
            break;
        }
        names.extend(page.into_iter().map(|u| u.handle));
    }
    assert_eq!(names, ["B", "Z9", "a-1", "a1", "a_1", "b"]);
}

fn lease(device: u8, version: u64) -> LeaseRow {
    LeaseRow {
        network_no: 1,
        device_fp: [device; 32],
        device: format!("device{device}"),
        handle: "a".into(),
        version,
        record: Arc::from([device, version as u8]),
        named: "x,y".into(),
        confirmed: String::new(),
        expires_ms: 1_000 + version,
        seen_ms: 100 + version,
    }
}

async fn leases_are_upserted_and_never_go_back(store: Arc<dyn Store>) {
    let batch: Vec<LeaseRow> = (0..100).map(|d| lease(d, 5)).collect();
    store.put_leases(batch).await.unwrap();
    store
        .put_leases(vec![lease(1, 6), lease(2, 4), lease(3, 5)])
        .await
        .unwrap();
    let wanted = vec![[1; 32], [2; 32], [3; 32], [200; 32]];
    let mut rows = store.leases(1, wanted).await.unwrap();
    rows.sort_by_key(|r| r.device_fp);
    assert_eq!(rows, [lease(1, 6), lease(2, 5), lease(3, 5)]);
    assert!(
        store.leases(2, vec![[1; 32]]).await.unwrap().is_empty(),
        "other network"
    );
}

async fn seen_rows_change_only_what_is_known(store: Arc<dyn Store>) {
    store
        .put_leases(vec![lease(1, 5), lease(2, 5)])
        .await
        .unwrap();
    let seen = |device: u8, seen_ms, confirmed: &str| SeenRow {
        network_no: 1,
        device_fp: [device; 32],
        seen_ms,
        confirmed: confirmed.into(),
    };
    let rows = vec![seen(1, 900, "bob=7"), seen(2, 1, ""), seen(9, 900, "")];
    store.put_seen(rows).await.unwrap();
    let found = store
        .leases(1, vec![[1; 32], [2; 32], [9; 32]])
        .await
        .unwrap();
    let mut found: Vec<_> = found
        .iter()
        .map(|r| (r.seen_ms, r.confirmed.as_str()))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [(105, ""), (900, "bob=7")]);
    // An announce leaves what was confirmed.
    store.put_leases(vec![lease(1, 6)]).await.unwrap();
    assert_eq!(
        store.leases(1, vec![[1; 32]]).await.unwrap()[0].confirmed,
        "bob=7"
    );
}

async fn live_leases_come_in_pages(store: Arc<dyn Store>) {
    let mut batch: Vec<LeaseRow> = (0..10).map(|d| lease(d, u64::from(d))).collect();
    batch[7].network_no = 2;
    store.put_leases(batch).await.unwrap();
    let mut from = (i64::MIN, [0; 32]);
    let mut found = Vec::new();
    loop {
        // Leases 0 to 4 have ended by then.
        let page = store.live_leases(1_004, from, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        from = (last.network_no, last.device_fp);
        found.extend(page.iter().map(|r| r.device_fp[0]));
    }
    assert_eq!(found, [5, 6, 8, 9, 7]);
}

async fn a_closed_store_says_so(store: Arc<dyn Store>) {
    store.ping().await.unwrap();
    store.close().await;
    assert!(matches!(
        store.ping().await,
        Err(StoreError::Unavailable(_))
    ));
}
