//! The schemas of the OpenAPI document, in JSON Schema 2020-12: the proto3 JSON of each message the
//! edge takes or gives. Tests compare their members with the messages themselves.

use beeline_proto::code::ErrorCode;
use serde_json::{Map, Value, json};

/// All schemas, by name.
pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    for part in [simple(), requests(), answers(), own()] {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

/// An object with these members. What is given is always whole; what is taken may leave members
/// out, which then have their default value.
fn object(description: &str, members: Value) -> Value {
    json!({ "type": "object", "description": description, "properties": members })
}

/// An object of an answer: every member is there, but for messages that are unset.
fn whole(description: &str, members: Value) -> Value {
    let each = members.as_object().into_iter().flatten();
    let names = each
        .filter(|(_, schema)| !is_message(schema))
        .map(|(name, _)| name.clone());
    let names: Vec<String> = names.collect();
    let mut schema = object(description, members);
    schema["required"] = Value::from(names);
    schema
}

/// Whether a member is a message of its own: a time, or one of ours.
fn is_message(schema: &Value) -> bool {
    schema["format"] == "date-time" || schema["$ref"] == "#/components/schemas/Versions"
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn bytes(description: &str) -> Value {
    json!({ "type": "string", "contentEncoding": "base64", "description": description })
}

fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX, "description": description })
}

/// A 64-bit number in a request: a string, or a number where it is exact.
fn long_in(description: &str) -> Value {
    json!({ "type": ["string", "integer"], "description": description })
}

/// A 64-bit number in an answer.
fn long(description: &str) -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+$", "description": description })
}

fn flag(description: &str) -> Value {
    json!({ "type": "boolean", "description": description })
}

/// A time; left out where there is none.
fn time(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

fn list(items: Value, description: &str) -> Value {
    json!({ "type": "array", "items": items, "description": description })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn simple() -> Value {
    let codes: Vec<&str> = ErrorCode::all().map(ErrorCode::name).collect();
    json!({
        "Label": {
            "type": "string",
            "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
            "description": "A networkId, userId or deviceId. Route names are reserved.",
        },
        "Problem": whole("A problem document (RFC 9457).", json!({
            "type": text("urn:beeline:error:<code>"),
            "title": text("The code in words."),
            "status": { "type": "integer", "minimum": 400, "maximum": 599,
                "description": "The HTTP status." },
            "detail": text("What to do about it."),
            "code": { "type": "string", "enum": codes, "description": "For programs." },
        })),
        "Health": whole("A health answer.", json!({
            "status": text("ok; or ready, or grace while the registry is down."),
        })),
        "Document": {
            "type": "object",
            "description": "An OpenAPI document.",
            "required": ["openapi", "info", "paths", "components"],
        },
    })
}

fn requests() -> Value {
    json!({
        "GetChallengeRequest": object("Asks for a challenge.", json!({
            "networkId": reference("Label"),
            "deviceId": reference("Label"),
        })),
        "CreateTokenRequest": object("Asks for a token.", json!({
            "networkId": reference("Label"),
            "deviceId": reference("Label"),
            "proof": bytes("Envelope of a TokenProof, signed by the device."),
        })),
        "JoinRequest": object("Asks to join.", json!({
            "networkId": text("As in the path, or empty."),
            "proof": bytes("Envelope of a JoinProof, signed by the invite's key."),
            "deviceList": bytes("Envelope of the joiner's first DeviceList."),
        })),
        "AnnounceRequest": object("Announces the calling device.", json!({
            "networkId": text("As in the path, or empty."),
            "record": bytes("Envelope of the device's DeviceRecord."),
            "coordinators": list(reference("Label"), "deviceIds of its coordinators, at most 4."),
        })),
        "HeartbeatRequest": object("One heartbeat.", json!({
            "networkId": text("The token's network, or empty."),
            "load": count("Links in use."),
            "capacity": count("Links it takes at most."),
            "connected": list(reference("Label"), "Devices connected since the last one."),
            "disconnected": list(reference("Label"), "Devices gone since the last one."),
            "full": flag("Whether connected is the whole list."),
            "epoch": long_in("Random per process start."),
            "seq": long_in("Counts heartbeats within the epoch, from 1."),
        })),
    })
}

fn answers() -> Value {
    json!({
        "GetChallengeResponse": whole("A challenge.", json!({
            "nonce": bytes("32 random bytes."),
            "expireTime": time("When it stops being accepted."),
        })),
        "CreateTokenResponse": whole("A token.", json!({
            "token": text("The JWT (RFC 7519), EdDSA."),
            "expireTime": time("When it expires."),
        })),
        "JoinResponse": whole("What a new member needs.", json!({
            "membership": bytes("Envelope of the Membership."),
            "descriptor": bytes("Envelope of the NetworkDescriptor."),
            "revocations": bytes("Envelope of the Revocations; empty while there are none."),
        })),
        "AnnounceResponse": whole("A lease on presence.", json!({
            "expireTime": time("When the lease runs out."),
            "reannounceAfter": count("Seconds after which to announce again."),
            "versions": reference("Versions"),
        })),
        "Versions": whole("Versions of signed lists.", json!({
            "descriptor": long("Of the network descriptor."),
            "revocations": long("Of the revocations."),
            "deviceList": long("Of the caller's device list."),
        })),
        "Peer": whole("One user.", json!({
            "userId": reference("Label"),
            "online": flag("Whether any device has a live lease and an open socket."),
            "lastSeen": time("When a device was last seen."),
            "lastCoordinators": list(reference("Label"), "Coordinators, newest first."),
            "devices": list(reference("PeerDevice"), "Its devices."),
            "chain": bytes("The serialized Chain."),
        })),
        "PeerDevice": whole("One device of a user.", json!({
            "deviceId": reference("Label"),
            "online": flag("Whether it has a live lease and an open socket."),
            "lastSeen": time("When it was last seen."),
            "signalAddr": text("Where its signalling socket is reached."),
            "record": bytes("Envelope of its DeviceRecord."),
        })),
        "ListActivePeersResponse": whole("A page of users online.", json!({
            "peers": list(reference("Peer"), "The users, by userId."),
            "nextPageToken": text("Token of the next page; empty on the last."),
        })),
        "HeartbeatResponse": whole("The registry's answer.", json!({
            "nextHeartbeatS": count("Seconds until the next heartbeat is expected."),
            "expireTime": time("When the coordinator's lease runs out."),
            "wantFull": flag("Whether the next one must list all connected devices."),
        })),
        "ListCoordinatorsResponse": whole("Live coordinators.", json!({
            "coordinators": list(reference("Coordinator"), "Least loaded first."),
        })),
        "Coordinator": whole("One live coordinator.", json!({
            "deviceId": reference("Label"),
            "record": bytes("Envelope of its DeviceRecord."),
            "chain": bytes("The serialized Chain."),
            "load": count("Links in use."),
            "capacity": count("Links it takes at most."),
        })),
    })
}

/// What the gateway answers by itself.
fn own() -> Value {
    json!({
        "IceServers": whole("Servers for WebRTC.", json!({
            "iceServers": list(reference("IceServer"), "As in RTCConfiguration."),
            "ttl": count("Seconds until the credentials end."),
        })),
        "IceServer": {
            "type": "object",
            "description": "As in RTCIceServer.",
            "required": ["urls"],
            "properties": {
                "urls": list(text("stun: or turn: address."), "Addresses of the server."),
                "username": text("For TURN: expiry:deviceId."),
                "credential": text("For TURN."),
            },
        },
        "Jwks": whole("A JSON Web Key Set.", json!({
            "keys": list(reference("Jwk"), "The keys, by kid."),
        })),
        "Jwk": whole("An Ed25519 public key (RFC 8037).", json!({
            "kty": { "type": "string", "enum": ["OKP"] },
            "crv": { "type": "string", "enum": ["Ed25519"] },
            "x": text("The public key, base64url."),
            "kid": text("Its name in the header of a token."),
            "use": { "type": "string", "enum": ["sig"] },
            "alg": { "type": "string", "enum": ["EdDSA"] },
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use beeline_proto::pb::auth::v1 as auth;
    use beeline_proto::pb::coordinator::v1 as coordinator;
    use beeline_proto::pb::identity::v1::Versions;
    use beeline_proto::pb::registry::v1 as registry;
    use serde::Serialize;
    use std::collections::BTreeSet;

    fn members(schema: &str) -> BTreeSet<String> {
        let all = schemas();
        let members = all[schema]["properties"].as_object().expect("an object");
        members.keys().cloned().collect()
    }

    fn check<T: Serialize + Default>(schema: &str) {
        let json = serde_json::to_value(T::default()).expect("json");
        let of_message: BTreeSet<String> =
            json.as_object().expect("object").keys().cloned().collect();
        let mut of_schema = members(schema);
        // Unset messages are left out of the JSON, so only the schema names them.
        let all = schemas();
        let is_unset = |name: &String| is_message(&all[schema]["properties"][name]);
        of_schema.retain(|name| of_message.contains(name) || !is_unset(name));
        assert_eq!(of_schema, of_message, "{schema}");
    }

    #[test]
    fn schemas_have_the_members_of_their_messages() {
        check::<auth::GetChallengeRequest>("GetChallengeRequest");
        check::<auth::GetChallengeResponse>("GetChallengeResponse");
        check::<auth::CreateTokenRequest>("CreateTokenRequest");
        check::<auth::CreateTokenResponse>("CreateTokenResponse");
        check::<registry::JoinRequest>("JoinRequest");
        check::<registry::JoinResponse>("JoinResponse");
        check::<registry::AnnounceRequest>("AnnounceRequest");
        check::<registry::AnnounceResponse>("AnnounceResponse");
        check::<registry::Peer>("Peer");
        check::<registry::PeerDevice>("PeerDevice");
        check::<registry::ListActivePeersResponse>("ListActivePeersResponse");
        check::<coordinator::HeartbeatRequest>("HeartbeatRequest");
        check::<coordinator::HeartbeatResponse>("HeartbeatResponse");
        check::<coordinator::ListCoordinatorsResponse>("ListCoordinatorsResponse");
        check::<coordinator::Coordinator>("Coordinator");
        check::<Versions>("Versions");
    }
}
