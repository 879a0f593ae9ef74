//! Joining against servers that lie: nothing is believed that does not verify against the link.

use super::*;
use beeline_proto::envelope::{Expect, open};
use beeline_proto::id::NetworkFp;

/// A network made for a test: its authority, its registrar.
struct Network {
    authority: SigningKey,
    registrar: SigningKey,
}

fn network(seed: u8) -> Network {
    Network {
        authority: SigningKey::from_seed(&[seed; 32]),
        registrar: SigningKey::from_seed(&[seed + 1; 32]),
    }
}

impl Network {
    fn fp(&self) -> NetworkFp {
        self.authority.verify_key().network_fp()
    }

    fn context(&self, audience: [u8; 32]) -> Option<beeline_proto::pb::envelope::v1::Context> {
        Some(Context::unordered(self.fp(), audience, MessageId([1; 16])).to_pb())
    }

    fn link(&self) -> InviteLink {
        InviteLink {
            network_id: Label::new("home").expect("label"),
            network: self.fp(),
            key: SigningKey::from_seed(&[99; 32]),
            gateways: vec!["http://127.0.0.1:1".to_owned()],
        }
    }

    fn descriptor(&self) -> Vec<u8> {
        let descriptor = pb::NetworkDescriptor {
            context: self.context(self.fp().0),
            label: "home".to_owned(),
            version: 1,
            registrar_keys: vec![self.registrar.verify_key().to_bytes().to_vec()],
            gateway_origins: vec!["http://127.0.0.1:1".to_owned()],
            registry_origins: Vec::new(),
        };
        sign(&self.authority, &descriptor)
    }

    fn membership(&self, user_key: &SigningKey, handle: &str) -> Vec<u8> {
        let key = user_key.verify_key();
        let membership = pb::Membership {
            context: self.context(key.fp()),
            user_key: key.to_bytes().to_vec(),
            handle: handle.to_owned(),
            role: pb::Role::Member.into(),
            serial: 7,
            salt: vec![3; 16],
            issued_ms: 1,
            expires_ms: u64::MAX / 2,
        };
        sign(&self.registrar, &membership)
    }

    fn revocations(&self, serials: &[u64]) -> Vec<u8> {
        let revocations = pb::Revocations {
            context: self.context(self.fp().0),
            version: 1,
            serials: serials.to_vec(),
        };
        sign(&self.registrar, &revocations)
    }

    fn answer(&self, draft: &Identity) -> JoinResponse {
        JoinResponse {
            membership: self
                .membership(draft.user_key.as_ref().expect("made"), draft.user.as_str()),
            descriptor: self.descriptor(),
            revocations: Vec::new(),
        }
    }
}

fn alice(network: &Network) -> (Identity, JoinRequest) {
    let alice = Label::new("alice").expect("label");
    let draft = draft(&network.link(), alice, None).expect("made");
    let request = request(&network.link(), &draft).expect("made");
    (draft, request)
}

#[test]
fn the_request_is_signed_by_the_invite_and_names_what_it_brings() {
    let network = network(10);
    let (draft, request) = alice(&network);
    let audiences = [network.fp().0];
    let invite = network.link().key.verify_key().fp();
    let expect = Expect::new(network.fp(), &audiences).signer(invite);
    let proof = open::<pb::JoinProof>(&request.proof, &expect).expect("signed");
    assert_eq!(proof.payload().user_id, "alice");
    assert_eq!(
        proof.payload().device_list_hash,
        sha256(&request.device_list)
    );
    assert_eq!(proof.payload().nonce.len(), 32);
    let name = draft.device.as_str();
    assert!(
        name.starts_with("alice_") && name.len() == "alice_".len() + 6,
        "{name}"
    );
}

#[test]
fn what_verifies_is_taken_whole() {
    let network = network(10);
    let (draft, request) = alice(&network);
    let mut answer = network.answer(&draft);
    answer.revocations = network.revocations(&[1, 2]);
    let (identity, role) = accept(draft, &request, &answer).expect("it verifies");
    assert_eq!(role, pb::Role::Member);
    let chain = VerifiedChain::open(&identity.chain, network.fp()).expect("kept");
    assert_eq!(chain.devices.devices[0].label, identity.device);
    assert_eq!(identity.revocations, answer.revocations);
}

#[test]
fn what_does_not_fit_the_link_is_refused() {
    type Lie<'a> = &'a dyn Fn(&Identity, &mut JoinResponse);
    let (home, other) = (network(10), network(20));
    let lie = |change: Lie<'_>| {
        let (draft, request) = alice(&home);
        let mut answer = home.answer(&draft);
        change(&draft, &mut answer);
        accept(draft, &request, &answer).expect_err("a lie")
    };
    let another_key = SigningKey::from_seed(&[77; 32]);
    let lies: [Lie<'_>; 7] = [
        &|draft, answer| *answer = other.answer(draft),
        &|_, answer| answer.descriptor = other.descriptor(),
        &|draft, answer| {
            answer.membership = other.membership(draft.user_key.as_ref().expect("made"), "alice")
        },
        &|_, answer| answer.membership = home.membership(&another_key, "alice"),
        &|draft, answer| {
            answer.membership = home.membership(draft.user_key.as_ref().expect("made"), "mallory")
        },
        &|_, answer| answer.revocations = home.revocations(&[7]),
        &|_, answer| answer.membership.clear(),
    ];
    for (index, change) in lies.into_iter().enumerate() {
        let refused = lie(change);
        let foreign = matches!(refused, JoinError::NotTheInvitedNetwork(_));
        assert!(foreign, "lie {index}: {refused}");
    }
}

#[test]
fn a_long_name_still_makes_a_device_name() {
    let long = Label::new(&"x".repeat(64)).expect("label");
    let device = default_device(&long).expect("made");
    assert_eq!(device.as_str().len(), 64);
}

#[tokio::test]
async fn a_bad_link_or_name_touches_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options {
        home: dir.path().join("home"),
        ..Options::default()
    };
    let link = network(10).link().to_text();
    for (link, user, device) in [
        ("no link", "alice", None),
        (link.as_str(), "al ice", None),
        (link.as_str(), "join", None),
        (link.as_str(), "alice", Some("-")),
    ] {
        let refused = join(&options, link, user, device).await;
        refused.expect_err("refused before anything is made");
        assert!(!options.home.exists());
    }
    let away = join(&options, &link, "alice", None)
        .await
        .expect_err("nobody answers");
    assert!(
        matches!(away, JoinError::Rest(RestError::Unreachable(_))),
        "{away}"
    );
    assert!(!Home::at(&options.home).is_joined());
}
