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
            "description": ABOUT,
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

const ABOUT: &str = concat!(
    "REST in front of the registry, and the signalling WebSocket. Bodies are the proto3 JSON of ",
    "the messages in proto/beeline: bytes are base64, 64-bit numbers are strings, unknown members ",
    "are ignored, a member given twice is refused. Errors are problem documents (RFC 9457) with a ",
    "code of the shared vocabulary.",
);

const SOCKET: &str = concat!(
    "The signalling WebSocket (RFC 6455). Text frames are the JSON of SignalFrame, binary frames ",
    "its protobuf. The gateway sends HELLO with a nonce; the device answers HELLO with a proof ",
    "(or ",
    "a token) unless a token came with the upgrade, in Authorization or as the subprotocol ",
    "bearer.<token> beside beeline; the gateway answers HELLO with ready.",
);

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
    let size = |most: u32, usual: u32| {
        json!({
            "name": "pageSize", "in": "query", "required": false, "example": usual,
            "description": format!("1 to {most}; 0 means {usual}."),
            "schema": { "type": "integer", "minimum": 0, "maximum": most },
        })
    };
    if route == Route::Coordinators {
        parameters.push(size(16, 8));
    }
    if route == Route::ActivePeers {
        parameters.push(size(100, 50));
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

/// Without a token, a body or an answer in JSON.
fn bare(id: &'static str, summary: &'static str) -> Operation {
    Operation {
        id,
        summary,
        member: false,
        takes: None,
        gives: None,
        problems: OWN,
    }
}

/// What the gateway answers by itself.
fn own(id: &'static str, summary: &'static str, gives: &'static str) -> Operation {
    Operation {
        gives: Some(gives),
        ..bare(id, summary)
    }
}

/// What the registry answers anybody.
fn stranger(id: &'static str, summary: &'static str, gives: &'static str) -> Operation {
    Operation {
        problems: PASSED_ON,
        ..own(id, summary, gives)
    }
}

/// What the registry answers a member.
fn member(id: &'static str, summary: &'static str, gives: &'static str) -> Operation {
    Operation {
        member: true,
        ..stranger(id, summary, gives)
    }
}

impl Operation {
    /// With a body.
    fn takes(mut self, schema: &'static str, example: Value) -> Self {
        self.takes = Some((schema, example));
        self
    }
}

fn operation(route: Route) -> Operation {
    match route {
        Route::ActivePeers => {
            let summary = "Users online, in pages";
            member("listActivePeers", summary, "ListActivePeersResponse")
        }
        Route::Announce => {
            let example = json!({ "record": "AQ==", "coordinators": ["bob_1"] });
            member("announce", "Takes a lease on presence", "AnnounceResponse")
                .takes("AnnounceRequest", example)
        }
        Route::Peer => member("getPeer", "One user; the last resort of discovery", "Peer"),
        Route::Coordinators => {
            let summary = "Coordinators that live, least loaded first";
            member("listCoordinators", summary, "ListCoordinatorsResponse")
        }
        Route::Heartbeat => {
            let example = json!({ "networkId": "home", "load": 1, "capacity": 8, "seq": "1" });
            member("heartbeat", "A coordinator lives", "HeartbeatResponse")
                .takes("HeartbeatRequest", example)
        }
        Route::Challenge => {
            let example = json!({ "networkId": "home", "deviceId": "alice_1" });
            stranger(
                "getChallenge",
                "A challenge to sign for a token",
                "GetChallengeResponse",
            )
            .takes("GetChallengeRequest", example)
        }
        Route::Token => {
            let example = json!({ "networkId": "home", "deviceId": "alice_1", "proof": "AQ==" });
            stranger(
                "createToken",
                "A token for a signed challenge",
                "CreateTokenResponse",
            )
            .takes("CreateTokenRequest", example)
        }
        Route::Join => {
            let example = json!({ "proof": "AQ==", "deviceList": "AQ==" });
            stranger("join", "Makes an invite's holder a member", "JoinResponse")
                .takes("JoinRequest", example)
        }
        Route::IceServers => member(
            "listIceServers",
            "STUN and TURN servers with credentials",
            "IceServers",
        ),
        Route::Jwks => own(
            "listTokenKeys",
            "Keys that verify tokens (RFC 7517)",
            "Jwks",
        ),
        Route::OpenApi => own("getOpenApi", "This document", "Document"),
        Route::Healthz => own("getHealth", "Whether the process lives", "Health"),
        Route::Readyz => Operation {
            problems: &[414, 503, 504],
            ..own("getReadiness", "Whether it can serve", "Health")
        },
        Route::JoinPage => bare("getJoinPage", "Where an invite link leads in a browser"),
        Route::Socket => Operation {
            problems: &[400, 401, 403, 414, 426, 429, 503, 504],
            ..bare("openSocket", "The signalling WebSocket of a device")
        },
    }
}
