//! Several devices of one user, as processes: linked, written to, copied to, taken off.

use crate::process::{Done, Home, Running, Served};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

/// What the holder and the new device showed, and how each ended.
struct Linked {
    digits: [Value; 2],
    link: Done,
    join: Done,
}

impl Linked {
    fn expect_codes(&self, code: i32) {
        self.link.expect_code(code);
        self.join.expect_code(code);
    }
}

/// Links `new` as a device of the user of `holder`, who answers `word` to the digits.
async fn link(holder: &Home, new: &Home, device: &str, word: &str) -> Linked {
    let (mut link, mut person) = Running::typed(holder.command(&["device", "link"]));
    let url = link.event("device-link").await["link"].clone();
    let url = url.as_str().expect("a link");
    let mut join = new.start(&["device", "join", url, "--device", device]);
    let shown = [
        link.event("device-digits").await,
        join.event("device-digits").await,
    ];
    let typed = format!("{word}\n");
    person.write_all(typed.as_bytes()).await.expect("it reads");
    let (join, link) = (join.end().await, link.end().await);
    Linked {
        digits: shown.map(|line| line["digits"].clone()),
        link,
        join,
    }
}

#[tokio::test]
async fn a_second_device_is_linked_hears_all_and_is_taken_off_again() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let carol = Home::joined(served.invite(), "carol", &[]).await;
    let laptop = Home::new();
    // The home is owned meanwhile: the list takes force through its owner.
    let mut phone = alice.listening(&[]).await;
    let linked = link(&alice, &laptop, "alice_laptop", "yes").await;
    linked.expect_codes(0);
    assert_eq!(linked.digits[0], linked.digits[1]);
    assert_eq!(linked.digits[0].as_str().map(str::len), Some(6));

    // A message reaches both: whoever sent it serves the second as long as it is online.
    let mut theirs = carol.listening(&[]).await;
    let mut second = laptop.listening(&[]).await;
    let sent = carol.run(&["send", "alice", "to both"]).await;
    sent.expect_code(0);
    for device in [&mut phone, &mut second] {
        assert_eq!(device.event("message").await["text"], "to both");
    }
    second.terminate().await.expect_code(0);

    // What the phone says, the laptop shows as sent by us; it comes when the laptop is there.
    let said = alice.run(&["send", "carol", "from the phone"]).await;
    said.expect_code(0);
    assert_eq!(theirs.event("message").await["text"], "from the phone");
    let second = laptop.listening(&[]).await;
    theirs.terminate().await.expect_code(0);
    let copied = async || {
        let history = laptop.run(&["history", "carol"]).await;
        let lines = history.all("history").into_iter().cloned();
        lines
            .collect::<Vec<_>>()
            .into_iter()
            .find(|line| line["direction"] == "sent")
    };
    let copy = until_some(copied).await;
    assert_eq!(copy["text"], "from the phone");
    assert_eq!(copy["state"], "copied");
    let why = laptop
        .run(&["why", copy["id"].as_str().expect("an id")])
        .await;
    assert_eq!(why.all("why")[0]["about"]["state"], "copied", "{why}");

    // Taken off, it gets nothing, and cannot say anything.
    let no = laptop.run(&["device", "revoke", "alice_laptop"]).await;
    no.expect_code(1);
    let revoked = alice.run(&["device", "revoke", "alice_laptop"]).await;
    revoked.expect_code(0);
    assert_eq!(revoked.only("device-revoked")["device"], "alice_laptop");
    let ended = second.end().await;
    ended.expect_code(1);
    assert_eq!(ended.only("error")["code"], "REVOKED", "{ended}");
    // One that the last process printed and was ended before it noted so may stand there again.
    let mut new = ended.all("message").into_iter();
    assert!(new.all(|line| line["again"] == true), "{ended}");
    let after = carol.run(&["send", "alice", "to the phone alone"]).await;
    after.expect_code(0);
    assert_eq!(phone.event("message").await["text"], "to the phone alone");
    for command in [&["send", "carol", "let me in"][..], &["listen"], &["run"]] {
        let refused = laptop.run(command).await;
        refused.expect_code(1);
        assert_eq!(refused.only("error")["code"], "REVOKED", "{refused}");
    }
    let status = laptop.run(&["status"]).await;
    assert!(status.only("status")["removed"].is_string(), "{status}");
    phone.terminate().await.expect_code(0);
    let devices = alice.run(&["device", "list"]).await;
    assert_eq!(devices.only("device")["here"], true, "{devices}");
}

/// Asks until there is an answer; the processes behind it are what takes the time.
pub(crate) async fn until_some(ask: impl AsyncFn() -> Option<Value>) -> Value {
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(crate::process::DEADLINE, asked).await;
    found.expect("it comes in the end")
}

#[tokio::test]
async fn what_is_not_confirmed_or_not_allowed_is_refused() {
    let served = Served::start(&[]).await;
    let alice = Home::joined(served.invite(), "alice", &[]).await;
    let laptop = Home::new();
    let linked = link(&alice, &laptop, "alice_laptop", "no").await;
    linked.expect_codes(1);
    assert_eq!(alice.run(&["device", "list"]).await.all("device").len(), 1);
    laptop.run(&["status"]).await.expect_code(1);

    // The home is free for another try; a device link is no invite, and the name must be free.
    let wrong = laptop
        .run(&["join", "beeline://127.0.0.1:1/device#x", "--user", "alice"])
        .await;
    wrong.expect_code(1);
    let damaged = laptop
        .run(&["device", "join", "beeline://127.0.0.1:1/device#x"])
        .await;
    damaged.expect_code(1);
    let linked = link(&alice, &laptop, "alice_laptop", "yes").await;
    linked.expect_codes(0);
    let myself = alice.run(&["device", "list"]).await;
    let first = myself.all("device")[0]["device"].clone();
    let first = first.as_str().expect("an id");
    let (mut again, _person) = Running::typed(alice.command(&["device", "link"]));
    let url = again.event("device-link").await["link"].clone();
    let third = Home::new();
    let url = url.as_str().expect("a link");
    let taken = third
        .run(&["device", "join", url, "--device", "alice_laptop"])
        .await;
    taken.expect_code(1);
    let refused = again.end().await;
    refused.expect_code(1);
    assert_eq!(refused.only("error")["code"], "ALREADY_EXISTS", "{refused}");
    alice.run(&["device", "revoke", first]).await.expect_code(1);
    laptop.run(&["device", "link"]).await.expect_code(1);
}
