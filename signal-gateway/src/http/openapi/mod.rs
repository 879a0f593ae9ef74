//! The OpenAPI 3.1 document of the edge, made from the same routes as the router. Tests call every
//! operation on a running gateway and hold the answers against it.

mod schemas;

use crate::http::routes::Route;
use serde_json::{Map, Value, json};

/// What an operation takes and gives, beside its route.
struct Operation {
    id: &'static str,
    summary: &'static str,
    /// Whether a bearer token is needed.
    member: bool,
    /// Schema and example of the body it takes.
    takes: Option<(&'static str, Value)>,
    /// Schema of the JSON it gives; `None` where it gives something else.
    gives: Option<&'static str>,
    /// Statuses of the problems it may answer with.
    problems: &'static [u16],
}

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for route in Route::ALL {
        let item = paths.entry(route.path()).or_insert_with(|| json!({}));
        item[route.method().as_str().to_ascii_lowercase()] = describe(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Beeline signal gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "REST in front of the registry, and the signalling WebSocket. Bodies are \
                the proto3 JSON of the messages in proto/beeline: bytes are base64, 64-bit numbers \
                are strings, unknown members are ignored, a member given twice is refused. Errors \
                are problem documents (RFC 9457) with a code of the shared vocabulary.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas::schemas(),
            "responses": { "Problem": {
                "description": "What went wrong; 401 carries WWW-Authenticate, 429 and 503 \
                    Retry-After.",
                "content": { "application/problem+json": { "schema": reference("Problem") } },
            } },
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "From POST /auth/token; lives 10 minutes. Never in a URL.",
            } },
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn describe(route: Route) -> Value {
    let operation = operation(route);
    let mut item = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses(route, &operation),
    });
    let parameters = parameters(route);
    if !parameters.is_empty() {
        item["parameters"] = Value::from(parameters);
    }
    if operation.member {
        item["security"] = json!([{ "token": [] }]);
    }
    if let Some((schema, example)) = operation.takes {
        item["requestBody"] = json!({
            "required": true,
            "content": { "application/json": { "schema": reference(schema), "example": example } },
        });
    }
    item
}

fn responses(route: Route, operation: &Operation) -> Value {
    let success = match (route, operation.gives) {
        (Route::Socket, _) => json!({ "101": { "description": SOCKET } }),
        (Route::JoinPage, _) => json!({ "200": {
            "description": "A page that tells people to use the command line.",
            "content": { "text/html": { "schema": { "type": "string" } } },
        } }),
        (_, Some(schema)) => json!({ "200": {
            "description": "Done.",
            "content": { "application/json": { "schema": reference(schema) } },
        } }),
        (_, None) => json!({}),
    };
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    let mut responses = success;
    for status in operation.problems {
        responses[status.to_string()] = problem.clone();
    }
    responses
}

const SOCKET: &str = "The signalling WebSocket (RFC 6455). Text frames are the JSON of SignalFrame, \
    binary frames its protobuf. The gateway sends HELLO with a nonce; the device answers HELLO with \
    a proof (or a token) unless a token came with the upgrade, in Authorization or as the \
    subprotocol bearer.<token> beside beeline; the gateway answers HELLO with ready.";

/// The parameters a path or a query has.
fn parameters(route: Route) -> Vec<Value> {
    let label = |name: &str, example: &str| {
        json!({
            "name": name, "in": "path", "required": true,
            "schema": reference("Label"), "example": example,
        })
    };
    let mut parameters = Vec::new();
    for (name, example) in [
        ("networkId", "home"),
        ("userId", "carol"),
        ("deviceId", "alice_1"),
    ] {
        if route.path().contains(&format!("{{{name}}}")) {
            parameters.push(label(name, example));
        }
    }
    if route == Route::ActivePeers {
        parameters.push(json!({
            "name": "pageSize", "in": "query", "required": false, "example": 50,
            "description": "1 to 100; 0 means 50.",
            "schema": { "type": "integer", "minimum": 0, "maximum": 100 },
        }));
        parameters.push(json!({
            "name": "pageToken", "in": "query", "required": false, "example": "",
            "description": "nextPageToken of the page before.",
            "schema": { "type": "string" },
        }));
    }
    parameters
}

/// Problems of what passes on to the registry.
const PASSED_ON: &[u16] = &[400, 401, 403, 404, 409, 413, 414, 429, 500, 503, 504];
/// Problems of what the gateway answers by itself.
const OWN: &[u16] = &[414, 504];

fn operation(route: Route) -> Operation {
    let plain = |id, summary, gives| Operation {
        id,
        summary,
        member: false,
        takes: None,
        gives,
        problems: OWN,
    };
    let member = |id, summary, gives| Operation {
        member: true,
        problems: PASSED_ON,
        ..plain(id, summary, Some(gives))
    };
    let takes = |operation: Operation, schema, example| Operation {
        takes: Some((schema, example)),
        ..operation
    };
    let stranger = |id, summary, gives| Operation {
        problems: PASSED_ON,
        ..plain(id, summary, Some(gives))
    };
    let ids = json!({ "networkId": "home", "deviceId": "alice_1" });
    match route {
        Route::ActivePeers => member(
            "listActivePeers",
            "Users online, in pages",
            "ListActivePeersResponse",
        ),
        Route::Announce => takes(
            member("announce", "Takes a lease on presence", "AnnounceResponse"),
            "AnnounceRequest",
            json!({ "record": "AQ==", "coordinators": ["bob_1"] }),
        ),
        Route::Peer => member("getPeer", "One user; the last resort of discovery", "Peer"),
        Route::Heartbeat => takes(
            member("heartbeat", "A coordinator lives", "HeartbeatResponse"),
            "HeartbeatRequest",
            json!({ "networkId": "home", "load": 1, "capacity": 8, "epoch": "1", "seq": "1" }),
        ),
        Route::Challenge => takes(
            stranger(
                "getChallenge",
                "A challenge to sign for a token",
                "GetChallengeResponse",
            ),
            "GetChallengeRequest",
            ids,
        ),
        Route::Token => takes(
            stranger(
                "createToken",
                "A token for a signed challenge",
                "CreateTokenResponse",
            ),
            "CreateTokenRequest",
            json!({ "networkId": "home", "deviceId": "alice_1", "proof": "AQ==" }),
        ),
        Route::Join => takes(
            stranger("join", "Makes an invite's holder a member", "JoinResponse"),
            "JoinRequest",
            json!({ "proof": "AQ==", "deviceList": "AQ==" }),
        ),
        Route::IceServers => member(
            "listIceServers",
            "STUN and TURN servers, credentials included",
            "IceServers",
        ),
        Route::Jwks => plain(
            "listTokenKeys",
            "Keys that verify tokens (RFC 7517)",
            Some("Jwks"),
        ),
        Route::OpenApi => plain("getOpenApi", "This document", Some("Document")),
        Route::Healthz => plain("getHealth", "Whether the process lives", Some("Health")),
        Route::Readyz => Operation {
            problems: &[414, 503, 504],
            ..plain("getReadiness", "Whether it can serve", Some("Health"))
        },
        Route::JoinPage => plain(
            "getJoinPage",
            "Where an invite link leads in a browser",
            None,
        ),
        Route::Socket => Operation {
            problems: &[400, 401, 403, 414, 426, 429, 503, 504],
            ..plain("openSocket", "The signalling WebSocket of a device", None)
        },
    }
}
