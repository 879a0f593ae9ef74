//! Starting, stopping, looking after.

use super::world::{NETWORK, World, code, fresh, with};
use crate::limits::{CALLS_IN_FLIGHT_MAX, STREAMS_PER_CONNECTION_MAX};
use crate::{Config, Registry, StartError};
use beeline_proto::code::ErrorCode;
use beeline_proto::keys::SigningKey;
use beeline_proto::pb::identity::v1::Role;
use beeline_proto::pb::registry::v1 as pb;
use beeline_proto::pb::registry::v1::registry_service_client::RegistryServiceClient;
use std::os::unix::fs::PermissionsExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[tokio::test]
async fn calls_in_work_finish_while_the_registry_stops() {
    let World {
        dir: _dir,
        running,
        channel,
        ..
    } = World::start().await;
    let operator = std::fs::read_to_string(&running.operator_token_path).unwrap();
    let operator = format!("Operator {}", operator.trim());
    let mut health = HealthClient::new(channel.clone());
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1, "serving");

    // A call that waits for the admin lock is in work until the lock is let go.
    let held = running.ops.hold_admin().await;
    let metrics = std::sync::Arc::clone(running.ops.metrics());
    let request = with(&operator, invite());
    let mut client = RegistryServiceClient::new(channel);
    let mut call = std::pin::pin!(client.create_invite(request));
    let in_work = async {
        while metrics.calls_in_work() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = &mut call => panic!("answered while the lock was held: {answer:?}"),
        () = in_work => {}
    }
    let address = running.grpc_addr;
    let stop = running.shutdown();
    let finish = async {
        assert_eq!(
            watch.message().await.unwrap().unwrap().status,
            2,
            "not serving"
        );
        drop(held);
        let answer = call.await;
        drop(watch);
        answer
    };
    let ((), answer) = tokio::join!(stop, finish);
    answer.expect("the call in work was finished");
    assert!(
        TcpStream::connect(address).await.is_err(),
        "nobody listens any more"
    );
}

fn invite() -> pb::CreateInviteRequest {
    pb::CreateInviteRequest {
        network_id: NETWORK.into(),
        invite_key: SigningKey::from_seed(&fresh())
            .verify_key()
            .to_bytes()
            .to_vec(),
        role: Role::Member as i32,
        ..pb::CreateInviteRequest::default()
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_done_ends_at_its_deadline() {
    let world = World::start().await;
    let held = world.running.ops.hold_admin().await;
    // From here on time moves when nothing else can; nothing below waits for the database.
    tokio::time::pause();
    let request = with(&world.operator(), invite());
    let refused = world.registry().create_invite(request).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::Timeout);
    tokio::time::resume();
    drop(held);
    let request = with(&world.operator(), invite());
    world
        .registry()
        .create_invite(request)
        .await
        .expect("the lock is free");
}

#[tokio::test]
async fn a_full_registry_says_so_and_serves_on() {
    let world = World::start().await;
    let operator = world.operator();
    let held = world.running.ops.hold_admin().await;
    // Paused, and kept busy below, time stands still: no deadline passes.
    tokio::time::pause();
    let mut waiting = tokio::task::JoinSet::new();
    let per_connection = STREAMS_PER_CONNECTION_MAX as usize;
    for first in (0..CALLS_IN_FLIGHT_MAX).step_by(per_connection) {
        let client = RegistryServiceClient::new(world.connect().await);
        for _ in first..CALLS_IN_FLIGHT_MAX.min(first + per_connection) {
            let (mut client, request) = (client.clone(), with(&operator, invite()));
            waiting.spawn(async move { client.create_invite(request).await });
        }
    }
    while world.running.ops.metrics().calls_in_work() < CALLS_IN_FLIGHT_MAX as i64 {
        tokio::task::yield_now().await;
    }
    let more = RegistryServiceClient::new(world.connect().await);
    let (mut client, request) = (more.clone(), with(&operator, invite()));
    let refused = tokio::select! {
        answer = client.create_invite(request) => answer.unwrap_err(),
        never = keep_busy() => never,
    };
    assert_eq!(code(&refused), ErrorCode::Unavailable);
    tokio::time::resume();
    // Those who give up make room.
    waiting.shutdown().await;
    while world.running.ops.metrics().calls_in_work() > 0 {
        tokio::task::yield_now().await;
    }
    drop(held);
    let request = with(&operator, invite());
    more.clone()
        .create_invite(request)
        .await
        .expect("there is room again");
}

/// Something is always ready to run, so that paused time does not move.
async fn keep_busy<T>() -> T {
    loop {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let world = World::start().await;
    let mut client = ServerReflectionClient::new(world.channel.clone());
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client
        .server_reflection_info(futures::stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<&str> = list.service.iter().map(|s| s.name.as_str()).collect();
    for wanted in [
        "beeline.auth.v1.AuthService",
        "beeline.coordinator.v1.CoordinatorService",
        "beeline.registry.v1.RegistryService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&wanted), "{wanted} in {names:?}");
    }
    let foreign = names.iter().find(|name| name.contains("ClientService"));
    assert_eq!(foreign, None, "only what is served here is listed");
}

#[tokio::test]
async fn a_directory_has_one_registry() {
    let world = World::start().await;
    let config = Config {
        grpc: "127.0.0.1:0".parse().unwrap(),
        data: world.dir.path().join("data"),
        ..Config::default()
    };
    let second = Registry::start(config.clone()).await.unwrap_err();
    assert!(second.to_string().contains("in use"), "{second}");
    world.running.shutdown().await;
    Registry::start(config)
        .await
        .expect("free again")
        .shutdown()
        .await;
}

#[tokio::test]
async fn secrets_are_their_owners_only() {
    let world = World::start().await;
    let data = world.dir.path().join("data");
    let mode = |name: &str| {
        let path = if name.is_empty() {
            data.clone()
        } else {
            data.join(name)
        };
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for file in [
        "registry.db",
        "registry.db-wal",
        "leases.db",
        "gateway.token",
        "operator.token",
    ] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    let World {
        dir: _dir, running, ..
    } = world;
    running.shutdown().await;
    for file in ["registry.db", "gateway.token"] {
        let path = data.join(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let config = Config {
            grpc: "127.0.0.1:0".parse().unwrap(),
            data: data.clone(),
            ..Config::default()
        };
        let refused = Registry::start(config).await.unwrap_err().to_string();
        assert!(
            refused.contains("chmod 600") && refused.contains(file),
            "{refused}"
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[tokio::test]
async fn metrics_are_on_their_own_listener() {
    let metrics = |config: &mut Config| config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let world = World::start_with(metrics).await;
    world.member("alice").await;
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(world.running.metrics_addr.unwrap())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = get("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let join = "beeline_registry_calls_total{method=\"/beeline.registry.v1.RegistryService/Join\"";
    assert!(answer.contains(join), "{answer}");
    assert!(get("/").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn tls_is_served_with_a_private_ca() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let config = Config {
        grpc: "127.0.0.1:0".parse().unwrap(),
        data: dir.path().join("data"),
        tls_cert: Some(cert.clone()),
        tls_key: Some(key),
        ..Config::default()
    };
    let running = Registry::start(config.clone()).await.unwrap();
    let ca = Certificate::from_pem(made.cert.pem());
    let tls = ClientTlsConfig::new()
        .ca_certificate(ca)
        .domain_name("localhost");
    let url = format!("https://{}", running.grpc_addr);
    let endpoint = Channel::from_shared(url).unwrap().tls_config(tls).unwrap();
    let mut health = HealthClient::new(endpoint.connect().await.unwrap());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    // Plain text gets nowhere.
    let plain = Channel::from_shared(format!("http://{}", running.grpc_addr)).unwrap();
    let mut plain = HealthClient::new(plain.connect_lazy());
    assert!(plain.check(HealthCheckRequest::default()).await.is_err());
    drop(health);
    running.shutdown().await;

    let half = Config {
        tls_key: None,
        ..config.clone()
    };
    assert!(matches!(
        Registry::start(half).await,
        Err(StartError::Tls(_))
    ));
    let wrong = Config {
        tls_key: Some(cert),
        ..config
    };
    assert!(matches!(
        Registry::start(wrong).await,
        Err(StartError::Tls(_))
    ));
}

#[tokio::test]
async fn the_same_story_on_postgresql() {
    let url = crate::store::contract_tests::fresh_database().await;
    let data = url.clone();
    let world = World::start_with(move |config| config.database_url = Some(data)).await;
    let alice = world.member("alice").await;
    let carol = world.member("carol").await;
    world.announce(&carol, carol.record(1), &[]).await.unwrap();
    world.socket(&carol, true).await;
    let peer = world.peer(&alice, "carol").await.unwrap();
    assert!(peer.online);
    world.hands.forward(5_000);
    world.socket(&carol, false).await;
    let last_seen = world.peer(&alice, "carol").await.unwrap().last_seen;

    let second = Config {
        grpc: "127.0.0.1:0".parse().unwrap(),
        data: world.dir.path().join("second"),
        database_url: Some(url),
        ..Config::default()
    };
    let refused = Registry::start(second).await.unwrap_err();
    assert!(
        refused.to_string().contains("another registry"),
        "{refused}"
    );

    let world = world.restart().await;
    let peer = world.peer(&alice, "carol").await.unwrap();
    assert!(!peer.online);
    assert_eq!(
        peer.last_seen, last_seen,
        "written when the registry stopped"
    );
    assert_eq!(peer.devices[0].record.len(), carol.record(1).len());
    let refused = world
        .announce(&carol, carol.record(1), &[])
        .await
        .unwrap_err();
    assert_eq!(
        code(&refused),
        ErrorCode::Conflict,
        "another record of the same version"
    );
}
