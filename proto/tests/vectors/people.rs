//! `people.json` and `origins.json`: what people hold in their hands (safety numbers, invite links)
//! and the one form of an origin.

use super::{array, bytes, cases, pin, text};
use crate::id::{Label, NetworkFp};
use crate::invite::{InviteLink, LinkError};
use crate::keys::{SigningKey, VerifyKey};
use crate::origin::normalize;
use crate::pb::identity::v1 as pb;
use crate::safety::{grouped, safety_number};
use crate::tests::json::{Json, hex, object};
use crate::tests::world::{self, key, public};
use data_encoding::BASE64URL_NOPAD;
use prost::Message as _;

fn safety() -> Vec<Json> {
    let case = |a: u8, b: u8| {
        let (ka, kb) = (key(a).verify_key(), key(b).verify_key());
        let digits = safety_number(&world::network(), &ka, &kb);
        object! { "network": hex(world::network().0), "a": hex(public(a)), "b": hex(public(b)),
        "shown": digits.as_deref().map(grouped), "digits": digits }
    };
    vec![
        case(world::ALICE, world::CAROL),
        case(world::CAROL, world::ALICE),
        case(world::ALICE, world::STRANGER),
        case(world::ALICE, world::ALICE),
    ]
}

fn link_pb() -> pb::InviteLink {
    pb::InviteLink {
        network_id: "home".into(),
        network: world::network().to_vec(),
        seed: vec![world::INVITE; 32],
        gateways: vec![
            "https://signal.example".into(),
            "http://127.0.0.1:8080".into(),
        ],
    }
}

fn link_text(pb: &pb::InviteLink) -> String {
    format!(
        "https://signal.example/join#{}",
        BASE64URL_NOPAD.encode(&pb.encode_to_vec())
    )
}

fn links() -> Vec<Json> {
    let pb = link_pb();
    let link = InviteLink {
        network_id: Label::new(&pb.network_id).expect("a label"),
        network: world::network(),
        key: SigningKey::from_seed(&[world::INVITE; 32]),
        gateways: pb.gateways.clone(),
    };
    assert_eq!(link.to_text(), link_text(&pb));
    let padded = format!("  {}\n", link.to_text());
    let ok = |text: String| {
        object! { "link": text, "error": Json::Null, "network_id": "home",
        "network": hex(&pb.network), "seed": hex(&pb.seed),
        "gateways": pb.gateways.iter().map(|g| Json::from(g.as_str())).collect::<Vec<_>>() }
    };
    let bad = |text: String, error: &str| object! { "link": text, "error": error };
    let damaged = |change: fn(&mut pb::InviteLink)| {
        let mut pb = link_pb();
        change(&mut pb);
        bad(link_text(&pb), "damaged")
    };
    let whole = link.to_text();
    vec![
        ok(whole.clone()),
        ok(padded),
        bad("https://signal.example/join".into(), "no_fragment"),
        bad("https://signal.example/join#".into(), "no_fragment"),
        bad(whole[..whole.len() - 7].to_owned(), "damaged"),
        bad(format!("{whole}="), "damaged"),
        bad(
            format!("https://signal.example/join#{}", "A".repeat(5_000)),
            "damaged",
        ),
        damaged(|pb| pb.network_id = "a/b".into()),
        damaged(|pb| pb.network.truncate(31)),
        damaged(|pb| pb.seed.push(0)),
        damaged(|pb| pb.gateways.clear()),
        damaged(|pb| pb.gateways = vec!["https://a".into(); 9]),
        damaged(|pb| pb.gateways[0] = "ftp://a".into()),
    ]
}

#[test]
fn safety_numbers_and_invite_links() {
    let file = pin(
        "people.json",
        &object! {
            "about": "safety: 60 digits of two user keys (null where both are the same). links: \
                      what an invite link says, or why it is none.",
            "safety": safety(),
            "links": links(),
        },
    );
    for case in cases(&file, "safety") {
        let side = |name: &str| VerifyKey::from_bytes(&bytes(case, name)).expect("a good key");
        let digits = safety_number(&NetworkFp(array(case, "network")), &side("a"), &side("b"));
        assert_eq!(digits.as_deref(), case["digits"].as_str());
        assert_eq!(
            digits.as_deref().map(grouped).as_deref(),
            case["shown"].as_str()
        );
    }
    for case in cases(&file, "links") {
        let name = text(case, "link");
        let error = match InviteLink::parse(name) {
            Ok(link) => {
                assert_eq!(link.network_id.as_str(), text(case, "network_id"));
                assert_eq!(link.network.0, array(case, "network"));
                assert_eq!(*link.key.to_seed(), array(case, "seed"));
                let gateways = cases(case, "gateways").iter().filter_map(|g| g.as_str());
                assert!(link.gateways.iter().map(String::as_str).eq(gateways));
                None
            }
            Err(LinkError::NoFragment) => Some("no_fragment"),
            Err(LinkError::Damaged) => Some("damaged"),
        };
        assert_eq!(error, case["error"].as_str(), "{name}");
    }
}

#[test]
fn origins_have_one_form() {
    let urls = [
        "http://127.0.0.1:8080",
        "ws://127.0.0.1:8080/alice_device_123",
        "wss://Signal.Example:443/alice",
        "HTTPS://SIGNAL.EXAMPLE",
        "https://signal.example/",
        "https://signal.example?x=1",
        "https://signal.example#x",
        "http://signal.example:80",
        "http://signal.example:443",
        "https://[::1]:8443/x",
        "https://[2001:DB8::1]",
        "https://evil@signal.example",
        "https://signal.example@evil",
        "ftp://signal.example",
        "https://",
        "https://:443",
        "https://host:port",
        "https://host:99999",
        "https://host:+443",
        "https://host:0443",
        "https://host:08443",
        "https://host:",
        "https://[::1",
        "https://a b",
        "https://ä.example",
        "signal.example",
        "",
    ];
    let longest = format!("https://{}", "a".repeat(248));
    let longer = format!("https://{}", "a".repeat(249));
    let all = urls.into_iter().chain([longest.as_str(), longer.as_str()]);
    let list = all.map(|url| object! { "url": url, "origin": normalize(url) });
    let file = pin(
        "origins.json",
        &object! {
            "about": "The origin of a URL, or null where it has none.",
            "cases": list.collect::<Vec<Json>>(),
        },
    );
    for case in cases(&file, "cases") {
        assert_eq!(
            normalize(text(case, "url")).as_deref(),
            case["origin"].as_str(),
            "{case}"
        );
        if let Some(origin) = case["origin"].as_str() {
            assert_eq!(normalize(origin).as_deref(), Some(origin), "its own origin");
        }
    }
}
