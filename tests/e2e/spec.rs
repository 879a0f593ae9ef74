//! The second implementation: a client in Python, written from the specification alone, agrees with
//! every golden vector and plays the specification's story against real servers.

use crate::process::{Served, beeline, python, run};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokio::process::Command;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/testdata")
}

/// A command line of the client in Python.
fn spec_client(args: &[&str]) -> Command {
    python("spec_client", args)
}

fn files(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).expect("proto/testdata");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    };
    entries.map(name).collect()
}

#[tokio::test]
async fn python_agrees_with_every_vector() {
    let folder = testdata();
    let done = run(spec_client(&["vectors", folder.to_str().expect("UTF-8")])).await;
    done.expect_code(0);
    let checked = done.all("vectors").into_iter();
    let checked = checked.filter_map(|line| line["file"].as_str().map(str::to_owned));
    assert_eq!(checked.collect::<BTreeSet<_>>(), files(&folder), "{done}");
}

/// A check that cannot fail proves nothing: one verdict turned round in each of two files.
#[tokio::test]
async fn a_vector_that_is_wrong_is_noticed() {
    for (name, right, wrong) in [
        ("ed25519.json", "\"valid\": false", "\"valid\": true"),
        (
            "parcels.json",
            "\"error\": \"does_not_open\"",
            "\"error\": null",
        ),
    ] {
        let copy = tempfile::tempdir().expect("a temporary directory");
        for file in files(&testdata()) {
            std::fs::copy(testdata().join(&file), copy.path().join(&file)).expect("a copy");
        }
        let text = std::fs::read_to_string(copy.path().join(name)).expect("a vector file");
        assert!(text.contains(right), "{name} has such a case");
        std::fs::write(copy.path().join(name), text.replacen(right, wrong, 1)).expect("written");
        let done = run(spec_client(&[
            "vectors",
            copy.path().to_str().expect("UTF-8"),
        ]))
        .await;
        done.expect_code(1);
        assert!(done.only("error")["message"].is_string(), "{done}");
    }
}

#[tokio::test]
async fn python_plays_the_story() {
    let served = Served::start(&[]).await;
    let data = served.data().to_str().expect("a UTF-8 path");
    let role = ["network", "invite", "--role", "coordinator", "--data", data];
    let invited = run(beeline(&role)).await;
    invited.expect_code(0);
    let coordinator = invited.only("invite")["invite"]
        .as_str()
        .expect("a link")
        .to_owned();
    let at = |key: &str| served.ready[key].as_str().expect("an address").to_owned();
    let (url, grpc) = (at("url"), at("grpc"));
    let story = [
        "story",
        "--url",
        &url,
        "--grpc",
        &grpc,
        "--invite",
        served.invite(),
    ];

    // Twice in one network: with a coordinator who beats, and with two members, who may not.
    let as_coordinator = [&story[..], &["--coordinator-invite", &coordinator]].concat();
    let done = run(spec_client(&as_coordinator)).await;
    done.expect_code(0);
    assert_eq!(done.only("heartbeat")["next"], 10, "{done}");
    let done = run(spec_client(&story)).await;
    done.expect_code(0);
    assert_eq!(
        done.only("heartbeat")["refused"],
        "PERMISSION_DENIED",
        "{done}"
    );

    for (event, count) in [("joined", 2), ("token", 2), ("announced", 2), ("socket", 2)] {
        assert_eq!(done.all(event).len(), count, "{event}: {done}");
    }
    let services = done.only("reflection")["services"].to_string();
    for service in [
        "auth.v1.Auth",
        "coordinator.v1.Coordinator",
        "registry.v1.Registry",
    ] {
        assert!(
            services.contains(&format!("\"beeline.{service}Service\"")),
            "{services}"
        );
    }
    let online: Vec<_> = done
        .all("peer")
        .iter()
        .map(|line| &line["online"])
        .collect();
    assert_eq!(online, [false, true, false], "{done}");
    assert_eq!(done.only("offer")["form"], "text", "{done}");
    done.only("done");
}

#[tokio::test]
async fn the_story_ends_where_it_deviates() {
    let served = Served::start(&[]).await;
    let grpc = served.ready["grpc"].as_str().expect("an address");
    // A link of another network: the join is refused, so the story cannot go on.
    let elsewhere = Served::start(&[]).await;
    let url = served.ready["url"].as_str().expect("an address");
    let story = [
        "story",
        "--url",
        url,
        "--grpc",
        grpc,
        "--invite",
        elsewhere.invite(),
    ];
    let done = run(spec_client(&story)).await;
    done.expect_code(1);
    assert!(done.all("joined").is_empty(), "{done}");
    let message = done.only("error")["message"].to_string();
    assert!(message.contains("/join answered"), "{message}");
}
