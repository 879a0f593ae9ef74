//! The part of the lab that runs with all tests: one pair of every sort, and the lab's proof.
//! `tests/nat/run play matrix` plays all of them.

use super::hide::Hide;
use super::kind::{Kind, direct};
use super::play::{Try, play};
use super::scenario::{named, pair};
use super::servers::Ice;
use super::verify::{SIDE_BY_SIDE, named_by_coturn, named_by_doctor, tried_by_aiortc};
use beeline_tests::netns::Netns;
use futures::StreamExt as _;
use std::net::UdpSocket;

/// Plays a pair once; everything must be as theory says.
async fn once(names: &str, ice: Ice) -> Try {
    let mut scenario = named("short").expect("it is there");
    scenario.ice = ice;
    let mut row = play(&scenario, pair(names).expect("a pair"))
        .await
        .expect("played");
    let tried = row.tries.pop().expect("one try");
    assert_eq!(tried.wrong, None, "{names}");
    assert!(tried.first.is_some(), "{names} delivered nothing");
    assert_eq!(tried.link.is_some(), row.must_link(), "{names}");
    tried
}

#[test]
fn the_tests_play_what_the_scenario_says() {
    let short = named("short").expect("it is there");
    let text = include_str!("tests.rs");
    for [one, other] in short.pairs {
        let names = format!("\"{}+{}\"", one.name(), other.name());
        assert!(text.contains(&names), "no test plays {names}");
    }
}

#[tokio::test]
async fn two_behind_ordinary_nats_have_a_direct_link() {
    once("port-restricted+port-restricted", Ice::Stun).await;
}

#[tokio::test]
async fn a_symmetric_nat_has_a_direct_link_with_one_that_minds_the_address_only() {
    once("address-restricted+symmetric", Ice::Stun).await;
}

#[tokio::test]
async fn two_symmetric_nats_talk_through_a_peer_without_turn_and_have_a_link_with_it() {
    once("symmetric+symmetric", Ice::Stun).await;
    once("symmetric+symmetric", Ice::Turn).await;
}

/// Plays a pair of the scenario `file`: how its file came.
async fn file(names: &str) -> String {
    let scenario = named("file").expect("it is there");
    let pair = pair(names).expect("a pair");
    assert!(scenario.pairs.contains(&pair), "{names}");
    let mut row = play(&scenario, pair).await.expect("played");
    let tried = row.tries.pop().expect("one try");
    assert_eq!(tried.wrong, None, "{names}");
    tried.file.expect("a file").1
}

#[tokio::test]
async fn a_file_between_two_symmetric_nats_goes_through_the_coordinator() {
    let way = file("symmetric+symmetric").await;
    assert!(way.starts_with("relay coordinator"), "{way}");
}

#[tokio::test]
async fn a_file_from_a_host_without_udp_goes_through_a_peer_that_takes_links_by_tcp() {
    let way = file("udp-blocked+none").await;
    assert!(way.starts_with("relay coordinator"), "{way}");
}

#[tokio::test]
async fn two_of_one_lan_need_no_hairpin() {
    once("same-lan+same-lan", Ice::Stun).await;
}

#[tokio::test]
async fn a_host_with_ipv6_alone_is_reached_where_there_is_ipv6() {
    once("none+ipv6-only", Ice::Stun).await;
}

#[tokio::test]
async fn a_host_without_udp_is_reached_through_a_coordinator_by_tcp() {
    let tried = once("port-restricted+udp-blocked", Ice::Stun).await;
    assert_eq!(tried.coordinator, [true, true], "both have a link to it");
}

#[test]
fn a_host_that_shows_itself_is_found_out() {
    let host = Netns::new("shown");
    for hide in [Hide::NoPrivate, Hide::RelayOnly] {
        hide.watch(&host);
        assert_eq!(hide.check(&host), Ok(()));
        host.ip("addr replace 10.0.0.1/8 dev lo\n");
        host.inside(|| {
            let socket = UdpSocket::bind("10.0.0.1:0").expect("bound");
            socket.send_to(b"here", "10.0.0.1:9").expect("sent");
        });
        assert!(hide.check(&host).is_err(), "{}", hide.name());
        hide.watch(&host);
        assert_eq!(hide.check(&host), Ok(()), "it counts anew");
    }
}

#[tokio::test]
async fn who_hides_is_linked_and_shows_nothing() {
    for (scenario, pair_of, links) in [
        ("relay-only", "port-restricted+symmetric", true),
        ("relay-only-alone", "none+none", false),
        ("no-private", "port-restricted+port-restricted", true),
    ] {
        let hidden = named(scenario).expect("it is there");
        let row = play(&hidden.once(), pair(pair_of).expect("a pair"))
            .await
            .expect("played");
        let tried = row.tries.first().expect("one try");
        assert_eq!(tried.wrong, None, "{scenario}");
        assert_eq!(tried.link.is_some(), links, "{scenario}");
    }
}

#[tokio::test]
async fn a_file_goes_on_from_another_address() {
    let mut scenario = named("file-readdress").expect("it is there");
    (scenario.tries, scenario.file_mib) = (1, Some(16));
    let row = play(&scenario, scenario.pairs[0]).await.expect("played");
    assert_eq!(row.tries[0].wrong, None);
    assert!(row.tries[0].back.is_some(), "the file arrived");
}

#[tokio::test]
async fn coturn_names_every_nat() {
    let all = futures::stream::iter(Kind::ALL)
        .map(named_by_coturn)
        .buffer_unordered(SIDE_BY_SIDE);
    let wrong: Vec<String> = all.filter_map(async |told| told.err()).collect().await;
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn the_doctor_names_every_nat_and_raises_no_wrong_alarm() {
    let all = futures::stream::iter(Kind::ALL)
        .map(named_by_doctor)
        .buffer_unordered(SIDE_BY_SIDE);
    let wrong: Vec<String> = all.filter_map(async |told| told.err()).collect().await;
    assert_eq!(wrong, [""; 0]);
}

#[tokio::test]
async fn aiortc_links_where_theory_says_and_nowhere_else() {
    let pairs = [
        "port-restricted+port-restricted",
        "address-restricted+symmetric",
        "symmetric+symmetric",
        "none+ipv6-only",
    ];
    let pairs = pairs.map(|names| pair(names).expect("a pair"));
    assert!(pairs.iter().any(|[one, other]| !direct(*one, *other)));
    let all = futures::stream::iter(pairs)
        .map(tried_by_aiortc)
        .buffer_unordered(SIDE_BY_SIDE);
    let wrong: Vec<String> = all.filter_map(async |told| told.err()).collect().await;
    assert_eq!(wrong, [""; 0]);
}
