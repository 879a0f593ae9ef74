//! The REST client against servers of paper: tokens, refusals, failing over, and what is not sent.

use super::*;
use crate::identity::tests::nobody;
use ::http::{Request, Response};
use beeline_proto::code::ErrorCode;
use beeline_proto::envelope::{Expect, open};
use beeline_proto::pb::auth::v1 as auth;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What a server was asked: path, `Authorization`, body.
type Asked = (String, String, Vec<u8>);
/// How it answers a path: status, headers, body.
type Answering = fn(&str, usize) -> (u16, &'static [(&'static str, &'static str)], Vec<u8>);

struct Server {
    origin: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

/// Answers by `answer(path, how often that path was asked before)`.
async fn server(answer: Answering) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let heard = Arc::clone(&asked);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            let serve = service_fn(move |request| respond(Arc::clone(&heard), answer, request));
            let http = hyper::server::conn::http1::Builder::new();
            connections.spawn(async move {
                // A client that goes away is no failure of the test.
                let _ = http.serve_connection(TokioIo::new(stream), serve).await;
            });
        }
    });
    Server {
        origin,
        asked,
        _tasks: tasks,
    }
}

async fn respond(
    heard: Arc<Mutex<Vec<Asked>>>,
    answer: Answering,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    assert_eq!(request.uri().query(), None, "nothing travels in the query");
    let authorization = request.headers().get("authorization");
    let authorization = authorization.map(|v| v.to_str().expect("text").to_owned());
    let body = request
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    let before = {
        let mut heard = heard.lock().expect("sound");
        let before = heard.iter().filter(|(p, _, _)| *p == path).count();
        heard.push((
            path.clone(),
            authorization.unwrap_or_default(),
            body.to_vec(),
        ));
        before
    };
    let (status, headers, body) = answer(&path, before);
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Full::new(Bytes::from(body))).expect("built"))
}

impl Server {
    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("sound").clone()
    }

    fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|(path, _, _)| path).collect()
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("encoded")
}

/// Signs anybody in and knows one user.
fn sound(path: &str, before: usize) -> (u16, &'static [(&'static str, &'static str)], Vec<u8>) {
    let body = match path {
        "/auth/challenge" => json(&auth::GetChallengeResponse {
            nonce: vec![6; 32],
            expire_time: None,
        }),
        "/auth/token" => json(&auth::CreateTokenResponse {
            token: format!("t.o.{before}"),
            expire_time: None,
        }),
        "/network/home/peer/carol" => json(&registry::Peer {
            user_id: "carol".to_owned(),
            online: true,
            chain: vec![1, 2],
            ..registry::Peer::default()
        }),
        "/network/home/ice-servers" => {
            br#"{"iceServers":[{"urls":["stun:a:1"]},{"urls":["turn:b:2"],"username":"u",
                "credential":"c"}],"ttl":600}"#
                .to_vec()
        }
        _ => return (404, &[], b"<html>not found</html>".to_vec()),
    };
    (200, &[("content-type", "application/json")], body)
}

fn rest(dial: &[&str], named: &[&str]) -> Rest {
    let owned = |list: &[&str]| list.iter().map(|o| (*o).to_owned()).collect();
    let gateways = Gateways {
        dial: owned(dial),
        named: owned(named),
        registries: Vec::new(),
    };
    let tls = tls::client_config(None).expect("made");
    Rest::new(Arc::new(nobody()), gateways, &tls)
}

fn get_carol() -> RegistryCall {
    let user = Label::new("carol").expect("label");
    RegistryCall::GetPeer { user }
}

#[tokio::test]
async fn one_signed_challenge_serves_many_requests() {
    let server = server(sound).await;
    let rest = rest(&[&server.origin], &[&server.origin]);
    for _ in 0..3 {
        let answer = rest.call(&get_carol()).await.expect("answered");
        let RegistryAnswer::Peer(peer) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!((peer.online, peer.chain), (true, vec![1, 2]));
    }
    let asked = server.asked();
    let carol = "/network/home/peer/carol";
    assert_eq!(
        server.paths(),
        ["/auth/challenge", "/auth/token", carol, carol, carol]
    );
    assert!(asked[0].1.is_empty() && asked[1].1.is_empty());
    assert!(
        asked[2..]
            .iter()
            .all(|(_, bearer, _)| bearer == "Bearer t.o.0")
    );

    let request: auth::CreateTokenRequest = serde_json::from_slice(&asked[1].2).expect("JSON");
    let device = nobody().device_key.verify_key().fp();
    let audiences = [device];
    let expect = Expect::new(nobody().network, &audiences).signer(device);
    let proof = open::<auth::TokenProof>(&request.proof, &expect).expect("signed");
    assert_eq!(
        proof.payload().origin,
        server.origin,
        "the origin as dialled"
    );
    assert_eq!(proof.payload().nonce, [6; 32]);
}

#[tokio::test]
async fn a_token_is_asked_for_and_sent_only_where_the_descriptor_says() {
    let stranger = server(sound).await;
    let named = server(sound).await;
    let rest = rest(&[&stranger.origin, &named.origin], &[&named.origin]);
    rest.call(&get_carol())
        .await
        .expect("the named one answers");
    assert_eq!(stranger.paths(), [""; 0]);
    let token = rest.token().await.expect("signed in");
    assert_eq!(token.origin, named.origin);
}

#[tokio::test]
async fn a_refused_token_is_renewed_once_and_then_the_answer_stands() {
    fn refusing(
        path: &str,
        before: usize,
    ) -> (u16, &'static [(&'static str, &'static str)], Vec<u8>) {
        match path {
            "/network/home/peer/carol" if before != 1 => (
                401,
                &[],
                br#"{"code":"UNAUTHENTICATED","detail":"expired"}"#.to_vec(),
            ),
            _ => sound(path, before),
        }
    }
    let server = server(refusing).await;
    let rest = rest(&[&server.origin], &[&server.origin]);
    rest.call(&get_carol())
        .await
        .expect("with the second token");
    let refused = rest.call(&get_carol()).await.expect_err("twice refused");
    let RegistryError::Refused { code, detail } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (code, detail.as_str()),
        (ErrorCode::Unauthenticated, "expired")
    );
    let tokens = server
        .paths()
        .iter()
        .filter(|p| *p == "/auth/token")
        .count();
    assert_eq!(tokens, 3);
}

#[tokio::test]
async fn a_registry_that_is_away_behind_its_gateway_has_refused_nothing() {
    fn away(path: &str, before: usize) -> (u16, &'static [(&'static str, &'static str)], Vec<u8>) {
        match path {
            "/network/home/peer/carol" => (
                503,
                &[],
                br#"{"code":"UNAVAILABLE","detail":"later"}"#.to_vec(),
            ),
            _ => sound(path, before),
        }
    }
    let server = server(away).await;
    let rest = rest(&[&server.origin], &[&server.origin]);
    let none = rest.call(&get_carol()).await.expect_err("nobody answers");
    let RegistryError::Unreachable { detail } = none else {
        panic!("{none:?}");
    };
    assert_eq!(detail, "later");
}

#[tokio::test]
async fn another_gateway_is_asked_when_one_is_away_full_or_talks_nonsense() {
    fn full(_: &str, _: usize) -> (u16, &'static [(&'static str, &'static str)], Vec<u8>) {
        (503, &[("retry-after", "7")], Vec::new())
    }
    fn nonsense(
        path: &str,
        before: usize,
    ) -> (u16, &'static [(&'static str, &'static str)], Vec<u8>) {
        match path {
            "/network/home/peer/carol" => (200, &[], b"<html>".to_vec()),
            _ => sound(path, before),
        }
    }
    fn endless(
        path: &str,
        before: usize,
    ) -> (u16, &'static [(&'static str, &'static str)], Vec<u8>) {
        match path {
            "/network/home/peer/carol" => (200, &[], vec![b' '; crate::limits::REST_BODY_MAX + 1]),
            _ => sound(path, before),
        }
    }
    let away = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let away_origin = format!("http://{}", away.local_addr().expect("bound"));
    drop(away);
    let (full, nonsense) = (server(full).await, server(nonsense).await);
    let (endless, sound) = (server(endless).await, server(sound).await);
    let all = [
        &away_origin,
        &full.origin,
        &nonsense.origin,
        &endless.origin,
        &sound.origin,
    ];
    let all: Vec<&str> = all.iter().map(|o| o.as_str()).collect();
    let rest = rest(&all, &all);
    rest.call(&get_carol()).await.expect("the last one answers");
    for server in [&full, &nonsense, &endless, &sound] {
        assert!(!server.paths().is_empty());
    }
    let none = rest_of(&all[..1])
        .call(&get_carol())
        .await
        .expect_err("away");
    assert!(
        matches!(none, RegistryError::Unreachable { .. }),
        "{none:?}"
    );
    let none = rest_of(&[])
        .call(&get_carol())
        .await
        .expect_err("nobody to ask");
    assert!(
        matches!(none, RegistryError::Unreachable { .. }),
        "{none:?}"
    );
}

fn rest_of(gateways: &[&str]) -> Rest {
    rest(gateways, gateways)
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_its_wait() {
    fn limited(
        path: &str,
        before: usize,
    ) -> (u16, &'static [(&'static str, &'static str)], Vec<u8>) {
        match path {
            "/network/home/ice-servers" => {
                let body = br#"{"title":"Too many requests","code":"RATE_LIMITED"}"#;
                (429, &[("retry-after", "12")], body.to_vec())
            }
            _ => sound(path, before),
        }
    }
    let limited = server(limited).await;
    let refused = rest_of(&[&limited.origin])
        .ice_servers()
        .await
        .expect_err("limited");
    assert_eq!(
        refused,
        RestError::Refused {
            code: ErrorCode::RateLimited,
            detail: "Too many requests".to_owned(),
            retry_after_s: Some(12),
        }
    );
    let sound = server(sound).await;
    let (servers, ttl) = rest_of(&[&sound.origin]).ice_servers().await.expect("told");
    assert_eq!((servers.len(), ttl), (2, 600));
    assert_eq!(
        (servers[1].username.as_str(), servers[1].credential.as_str()),
        ("u", "c")
    );
}

#[test]
fn the_link_comes_first_where_the_descriptor_confirms_it() {
    let to = |link: &[&str], named: &[&str]| {
        let link: Vec<String> = link.iter().map(|o| (*o).to_owned()).collect();
        let named: Vec<String> = named.iter().map(|o| (*o).to_owned()).collect();
        dial_order(&link, &named)
    };
    let b_first = ["https://b", "https://a"];
    assert_eq!(
        to(&["https://B:443/"], &["https://a", "https://b"]),
        b_first
    );
    assert_eq!(to(&["https://evil"], &["https://a"]), ["https://a"]);
    assert_eq!(to(&["https://x"], &[]), ["https://x"]);
}
