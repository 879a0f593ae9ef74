//! The OpenAPI document against the running gateway: every operation of the document is called as
//! the document says and answers as it says; every route is in the document.

use crate::client::{Answer, Socket, get, request};
use crate::schema::check;
use crate::stack::Stack;
use beeline_gateway::http::routes::Route;
use beeline_proto::envelope::{Context, sign};
use beeline_proto::id::MessageId;
use beeline_proto::pb::auth::v1::TokenProof;
use data_encoding::BASE64;
use serde_json::Value;
use std::collections::BTreeSet;

/// One operation of the document.
struct Call {
    method: String,
    path: String,
    operation: Value,
}

async fn document(stack: &Stack) -> Value {
    get(stack.addr, "/openapi.json", None).await.json()
}

fn calls(document: &Value) -> Vec<Call> {
    let mut calls = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            calls.push(Call {
                method: method.to_ascii_uppercase(),
                path: path.clone(),
                operation: operation.clone(),
            });
        }
    }
    calls
}

impl Call {
    /// The target with the document's own examples in place.
    fn target(&self) -> String {
        let mut target = self.path.clone();
        let mut query = String::new();
        for parameter in self.operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let name = parameter["name"].as_str().expect("name");
            let example = match &parameter["example"] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            match parameter["in"].as_str() {
                Some("path") => target = target.replace(&format!("{{{name}}}"), &example),
                Some("query") => query += &format!("&{name}={example}"),
                other => panic!("a parameter in {other:?}"),
            }
        }
        assert!(
            !target.contains('{'),
            "{target}: a parameter is not described"
        );
        match query.strip_prefix('&') {
            Some(query) => format!("{target}?{query}"),
            None => target,
        }
    }

    fn body(&self) -> Option<&Value> {
        self.operation["requestBody"].pointer("/content/application~1json")
    }

    fn is_for_members(&self) -> bool {
        self.operation.get("security").is_some()
    }

    fn is_socket(&self) -> bool {
        self.operation["responses"].get("101").is_some()
    }

    /// The answer is among the documented ones, its body as documented.
    fn holds(&self, document: &Value, answer: &Answer) {
        let (method, path) = (&self.method, &self.path);
        let documented = &self.operation["responses"][answer.status.to_string()];
        assert!(
            !documented.is_null(),
            "{method} {path}: {answer:?} is not documented"
        );
        let documented = match documented["$ref"].as_str() {
            Some(pointer) => document.pointer(&pointer[1..]).expect("response"),
            None => documented,
        };
        let kind = answer.headers["content-type"].to_str().expect("ascii");
        let kind = kind.split(';').next().expect("one");
        let content = &documented["content"][kind];
        assert!(
            !content.is_null(),
            "{method} {path}: {kind} is not documented"
        );
        if kind.ends_with("json") {
            let checked = check(document, &content["schema"], &answer.json());
            assert_eq!(checked, Ok(()), "{method} {path}: {:?}", answer.json());
        }
    }
}

#[tokio::test]
async fn every_route_is_in_the_document_and_nothing_else() {
    let stack = Stack::start().await;
    let documented: BTreeSet<(String, String)> = calls(&document(&stack).await)
        .into_iter()
        .map(|c| (c.method, c.path))
        .collect();
    let routes: BTreeSet<(String, String)> = Route::ALL
        .iter()
        .map(|r| (r.method().to_string(), r.path().to_owned()))
        .collect();
    assert_eq!(documented, routes);
    let specified = [
        ("GET", "/network/{networkId}/active-peers"),
        ("POST", "/network/{networkId}/announce"),
        ("GET", "/network/{networkId}/peer/{userId}"),
        ("POST", "/coordinator/heartbeat"),
    ];
    for (method, path) in specified {
        assert!(
            documented.contains(&(method.into(), path.into())),
            "{path} is specified"
        );
    }
}

#[tokio::test]
async fn every_operation_answers_as_documented() {
    let stack = Stack::start().await;
    let document = document(&stack).await;
    let bearer = format!("Bearer {}", stack.token(&stack.alice));
    for call in calls(&document).iter().filter(|call| !call.is_socket()) {
        let mut headers = vec![("content-type", "application/json")];
        if call.is_for_members() {
            headers.push(("authorization", bearer.as_str()));
        }
        let mut body = String::new();
        if let Some(content) = call.body() {
            let mut example = content["example"].clone();
            assert_eq!(
                check(&document, &content["schema"], &example),
                Ok(()),
                "{}",
                call.path
            );
            if call.path == "/auth/token" {
                example["proof"] = token_proof(&stack).into();
            }
            body = example.to_string();
        }
        let target = call.target();
        let answer = request(stack.addr, &call.method, &target, &headers, body).await;
        assert_eq!(answer.status, 200, "{} {target}: {answer:?}", call.method);
        call.holds(&document, &answer);
    }
}

fn token_proof(stack: &Stack) -> String {
    let fp = stack.alice.fp().0;
    let proof = TokenProof {
        context: Some(Context::unordered(stack.home.fp(), fp, MessageId([1; 16])).to_pb()),
        origin: stack.gateway.public_url.clone(),
        nonce: vec![8; 32],
    };
    BASE64.encode(&sign(&stack.alice.device_key, &proof))
}

#[tokio::test]
async fn every_refusal_is_documented_and_a_problem() {
    let stack = Stack::start().await;
    let document = document(&stack).await;
    let bearer = format!("Bearer {}", stack.token(&stack.alice));
    for call in calls(&document) {
        let target = call.target();
        if call.is_for_members() {
            for token in [None, Some("Bearer x.y.z"), Some("Basic eA==")] {
                let headers: Vec<_> = token
                    .map(|token| ("authorization", token))
                    .into_iter()
                    .collect();
                let answer = request(stack.addr, &call.method, &target, &headers, "").await;
                assert_eq!(answer.status, 401, "{target}");
                call.holds(&document, &answer);
            }
        }
        if call.body().is_some() {
            for body in [
                "",
                "[]",
                "{",
                r#"{"networkId":1}"#,
                r#"{"networkId":"a","networkId":"b"}"#,
            ] {
                let headers = [("authorization", bearer.as_str())];
                let answer = request(stack.addr, &call.method, &target, &headers, body).await;
                assert_eq!(answer.status, 400, "{target} {body}");
                call.holds(&document, &answer);
            }
        }
        if call.is_socket() {
            let answer = request(stack.addr, &call.method, &target, &[], "").await;
            assert_eq!(answer.status, 426);
            call.holds(&document, &answer);
        }
        for method in ["DELETE", "PUT", "PATCH"] {
            let answer = request(stack.addr, method, &target, &[], "").await;
            assert_eq!(
                answer.problem(),
                (405, "UNIMPLEMENTED".into()),
                "{method} {target}"
            );
            assert!(answer.headers.contains_key("allow"));
        }
    }
    let socket = Socket::try_connect(stack.addr, "alice_1", &[]).await;
    assert!(socket.is_ok(), "101, as documented");
}
