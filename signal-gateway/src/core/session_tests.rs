//! Sockets under test, in made-up time: sign-in, relaying, abuse, and every way to end.

use super::*;
use proptest::prelude::*;

const START: Now = Now {
    mono_ms: 5_000,
    wall_ms: 1_700_000_000_000,
};

fn after(ms: u64) -> Now {
    Now {
        mono_ms: START.mono_ms + ms,
        wall_ms: START.wall_ms + ms,
    }
}

fn alice() -> Name {
    Name::new("alice_1").expect("name")
}

fn session(bearer: Option<Grant>) -> Session {
    Session::new(alice(), [7; 32], SocketLimits::default(), bearer, START)
}

fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

fn on(session: &mut Session, now: Now, input: Input<'_>) -> Vec<Output> {
    session.handle_input(now, input);
    drain(session)
}

fn text<'a>(json: &'a str) -> Input<'a> {
    Input::Frame(Form::Text, json.as_bytes())
}

/// A proven socket that has been greeted.
fn ready() -> Session {
    let mut session = session(None);
    drain(&mut session);
    let proof = r#"{"type":"HELLO","proof":"AQI="}"#;
    let out = on(&mut session, START, text(proof));
    assert!(matches!(out.as_slice(), [Output::Verify(_)]), "{out:?}");
    let grant = Grant {
        proven: true,
        ..Grant::default()
    };
    let out = on(&mut session, START, Input::Granted(grant));
    assert!(matches!(out.as_slice(), [Output::Send(f)] if f.ready));
    session
}

fn refusal(out: &[Output]) -> &str {
    match out {
        [Output::Send(frame)] if frame.r#type() == Type::Error => &frame.code,
        other => panic!("expected one ERROR, got {other:?}"),
    }
}

fn closed_with(out: &[Output]) -> Option<u16> {
    match out.last() {
        Some(Output::Close(code, _)) => Some(*code),
        _ => None,
    }
}

const OFFER: &str = r#"{"type":"OFFER","from":"alice_1","to":"carol_1","sdp":"v=0"}"#;
const CANDIDATE: &str = r#"{"type":"ICE_CANDIDATE","from":"alice_1","to":"carol_1"}"#;

#[test]
fn a_proof_makes_it_ready_and_newer_lists_come_along() {
    let mut session = session(None);
    let out = drain(&mut session);
    assert!(
        matches!(out.as_slice(), [Output::Send(f)] if f.nonce == [7; 32] && !f.ready),
        "{out:?}"
    );
    let hello = SignalFrame {
        r#type: Type::Hello as i32,
        proof: vec![1],
        chain: vec![2],
        ..SignalFrame::default()
    };
    let out = on(
        &mut session,
        START,
        Input::Frame(Form::Binary, &hello.encode_to_vec()),
    );
    let want = SignIn::Proof {
        proof: vec![1],
        chain: vec![2],
        versions: Versions::default(),
    };
    assert_eq!(out, [Output::Verify(Box::new(want))]);
    assert_eq!(
        (session.form(), session.poll_timeout()),
        (Form::Binary, None)
    );
    let grant = Grant {
        proven: true,
        descriptor: vec![9],
        ..Grant::default()
    };
    let out = on(&mut session, START, Input::Granted(grant));
    assert!(matches!(out.as_slice(), [Output::Send(f)] if f.ready && f.descriptor == [9]));
    assert!(session.is_ready());
}

#[test]
fn nothing_but_hello_comes_first_and_within_five_seconds() {
    for (first, code) in [
        (OFFER, 4001),
        (r#"{"type":"HELLO"}"#, 4001),
        (r#"{"type":"HELLO","token":"a","token":"b"}"#, 4000),
        (r#"{"type":"HELLO","proof":"%"}"#, 4001),
        ("nonsense", 4000),
    ] {
        let mut session = session(None);
        drain(&mut session);
        let out = on(&mut session, START, text(first));
        assert_eq!(closed_with(&out), Some(code), "{first}: {out:?}");
        assert_eq!(on(&mut session, START, text(OFFER)), [], "it is over");
    }
    let mut session = session(None);
    drain(&mut session);
    assert_eq!(session.poll_timeout(), Some(START.mono_ms + 5_000));
    assert_eq!(on(&mut session, after(4_999), Input::Timeout), []);
    // Pings do not buy time.
    assert_eq!(on(&mut session, after(4_999), Input::Control), []);
    let out = on(&mut session, after(5_000), Input::Timeout);
    assert_eq!(closed_with(&out), Some(4001));
}

#[test]
fn a_refused_sign_in_closes_with_its_code() {
    for (code, close) in [
        (ErrorCode::Unauthenticated, 4001),
        (ErrorCode::Revoked, 4010),
        (ErrorCode::Unavailable, 1013),
        (ErrorCode::Conflict, 4013),
    ] {
        let mut session = session(None);
        drain(&mut session);
        on(&mut session, START, text(r#"{"type":"HELLO","token":"x"}"#));
        let out = on(&mut session, START, Input::Refused(code, "why"));
        assert_eq!(closed_with(&out), Some(close));
        assert!(matches!(&out[0], Output::Send(f) if f.code == code.name()));
    }
}

#[test]
fn frames_are_forwarded_and_answered_when_nobody_is_there() {
    let mut session = ready();
    let carol = Name::new("carol_1").expect("name");
    for kind in ["OFFER", "ANSWER", "ICE_CANDIDATE", "RELAY_REQUEST"] {
        let frame = format!(r#"{{"type":"{kind}","from":"alice_1","to":"carol_1","x":1}}"#);
        assert_eq!(
            on(&mut session, START, text(&frame)),
            [Output::Forward(carol)]
        );
    }
    let out = on(&mut session, START, Input::Offline(carol));
    let [Output::Send(error)] = out.as_slice() else {
        panic!("{out:?}")
    };
    assert_eq!(error.code, "PEER_OFFLINE");
    assert_eq!(
        (error.from.as_str(), error.to.as_str()),
        ("alice_1", "carol_1")
    );
}

#[test]
fn spoofed_and_forged_frames_are_refused_then_closed() {
    let mut session = ready();
    let spoofed = r#"{"type":"OFFER","from":"bob_1","to":"carol_1"}"#;
    assert_eq!(
        refusal(&on(&mut session, START, text(spoofed))),
        "PERMISSION_DENIED"
    );
    for (frame, want) in [
        (r#"{"type":"OFFER","to":"carol_1"}"#, "PERMISSION_DENIED"),
        (r#"{"type":"OFFER","from":"alice_1"}"#, "INVALID_ARGUMENT"),
        (
            r#"{"type":"SUPERSEDED","from":"alice_1","to":"carol_1"}"#,
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"type":"ERROR","from":"alice_1","to":"carol_1"}"#,
            "INVALID_ARGUMENT",
        ),
        (
            r#"{"type":"GOAWAY","from":"alice_1","to":"carol_1"}"#,
            "INVALID_ARGUMENT",
        ),
        (r#"{"type":"HELLO","proof":"AQI="}"#, "INVALID_ARGUMENT"),
        (
            r#"{"type":"OFFER","from":"alice_1","from":"bob","to":"c"}"#,
            "INVALID_ARGUMENT",
        ),
    ] {
        assert_eq!(
            refusal(&on(&mut session, START, text(frame))),
            want,
            "{frame}"
        );
    }
    let tries =
        (0..100).take_while(|_| closed_with(&on(&mut session, START, text(spoofed))).is_none());
    assert_eq!(tries.count(), 8, "16 in all");
    assert_eq!(session.poll_timeout(), None);
}

#[test]
fn floods_are_dropped_cheaply_and_then_cut() {
    let mut session = ready();
    let mut forwarded = 0;
    let mut errors = 0;
    let mut sent = 0;
    loop {
        let out = on(&mut session, START, text(CANDIDATE));
        sent += 1;
        if let Some(code) = closed_with(&out) {
            assert_eq!(code, 4029);
            break;
        }
        match out.first() {
            Some(Output::Forward(_)) => forwarded += 1,
            Some(Output::Send(error)) => {
                assert_eq!(
                    (error.code.as_str(), error.retry_after_ms),
                    ("RATE_LIMITED", 50)
                );
                errors += 1;
            }
            _ => {}
        }
    }
    assert_eq!((forwarded, errors, sent), (60, 2, 60 + 200 + 1));
}

#[test]
fn offers_have_rates_of_their_own() {
    let mut session = ready();
    let forwarded = |out: Vec<Output>| matches!(out.as_slice(), [Output::Forward(_)]);
    let to_one = (0..10)
        .filter(|_| forwarded(on(&mut session, START, text(OFFER))))
        .count();
    assert_eq!(to_one, 3);
    let others = (0..20).filter(|n| {
        let frame = format!(r#"{{"type":"OFFER","from":"alice_1","to":"p{n}"}}"#);
        forwarded(on(&mut session, START, text(&frame)))
    });
    assert_eq!(others.count(), 10 - 3);
    assert!(
        forwarded(on(&mut session, START, text(CANDIDATE))),
        "candidates still pass"
    );
}

#[test]
fn silence_is_pinged_and_then_death() {
    let mut session = ready();
    assert_eq!(session.poll_timeout(), Some(START.mono_ms + 25_000));
    assert_eq!(on(&mut session, after(24_999), Input::Timeout), []);
    assert_eq!(
        on(&mut session, after(25_000), Input::Timeout),
        [Output::Ping]
    );
    assert_eq!(on(&mut session, after(26_000), Input::Control), []);
    assert_eq!(session.poll_timeout(), Some(START.mono_ms + 51_000));
    assert_eq!(
        on(&mut session, after(51_000), Input::Timeout),
        [Output::Ping]
    );
    assert_eq!(
        on(&mut session, after(76_000), Input::Timeout),
        [Output::Ping]
    );
    assert_eq!(session.poll_timeout(), Some(START.mono_ms + 86_000));
    let out = on(&mut session, after(86_000), Input::Timeout);
    assert_eq!(closed_with(&out), Some(4008));
}

#[test]
fn a_bearer_socket_dies_with_its_token_unless_renewed() {
    let token = |seconds: u64| Grant {
        expires_ms: Some(START.wall_ms + seconds * 1_000),
        ..Grant::default()
    };
    let mut session = session(Some(token(10)));
    assert!(matches!(drain(&mut session).as_slice(), [Output::Send(f)] if f.ready));
    assert_eq!(session.poll_timeout(), Some(START.mono_ms + 25_000));
    let out = on(
        &mut session,
        after(5_000),
        text(r#"{"type":"HELLO","token":"new"}"#),
    );
    assert_eq!(out, [Output::Verify(Box::new(SignIn::Token("new".into())))]);
    let out = on(
        &mut session,
        after(5_000),
        Input::Refused(ErrorCode::Unauthenticated, "bad"),
    );
    assert_eq!(refusal(&out), "UNAUTHENTICATED");
    assert!(session.is_ready(), "the old token still runs");
    on(
        &mut session,
        after(6_000),
        text(r#"{"type":"HELLO","token":"new"}"#),
    );
    let out = on(&mut session, after(6_000), Input::Granted(token(20)));
    assert!(matches!(out.as_slice(), [Output::Send(f)] if f.ready));
    on(&mut session, after(49_000), Input::Control);
    assert_eq!(session.poll_timeout(), Some(START.mono_ms + 50_000));
    let out = on(&mut session, after(50_000), Input::Timeout);
    assert_eq!(closed_with(&out), Some(4001));
}

#[test]
fn every_other_end_says_why() {
    let out = on(&mut ready(), START, Input::Superseded(vec![5]));
    assert!(matches!(&out[0], Output::Send(f)
        if f.r#type() == Type::Superseded && f.proof == [5]));
    assert_eq!(closed_with(&out), Some(4002));
    let out = on(&mut ready(), START, Input::GoAway(2_000));
    assert!(matches!(&out[0], Output::Send(f)
        if f.r#type() == Type::Goaway && f.retry_after_ms == 2_000));
    assert_eq!(closed_with(&out), Some(1001));
    assert_eq!(
        closed_with(&on(&mut ready(), START, Input::Overflow)),
        Some(1013)
    );
    let out = on(
        &mut ready(),
        START,
        Input::Ended(ErrorCode::Revoked, "revoked"),
    );
    assert_eq!(closed_with(&out), Some(4010));
    let mut session = ready();
    let pings =
        (0..100).take_while(|_| closed_with(&on(&mut session, START, Input::Control)).is_none());
    assert_eq!(pings.count(), 60);
}

proptest! {
    /// T-ID-2: whatever a signed-in device sends, only a frame that says its own name is forwarded,
    /// and to exactly the device the frame names. No input panics or asks for the past.
    #[test]
    fn only_its_own_name_passes(
        frames in proptest::collection::vec(
            (0..9i32, "[a-c]_1|", "[a-c]_1|", any::<bool>(), 0..400u64), 0..40),
    ) {
        let mut session = ready();
        let mut ms = 0;
        for (kind, from, to, binary, step) in frames {
            ms += step;
            let frame = SignalFrame {
                r#type: kind,
                from: from.replace("a_1", "alice_1"),
                to,
                ..SignalFrame::default()
            };
            let out = if binary {
                on(&mut session, after(ms), Input::Frame(Form::Binary, &frame.encode_to_vec()))
            } else {
                let json = serde_json::to_vec(&frame).expect("json");
                on(&mut session, after(ms), Input::Frame(Form::Text, &json))
            };
            for output in out {
                if let Output::Forward(to) = output {
                    prop_assert_eq!(frame.from.as_str(), "alice_1");
                    prop_assert_eq!(to.as_str(), frame.to.as_str());
                    prop_assert!((1..=4).contains(&kind));
                }
            }
            on(&mut session, after(ms), Input::Timeout);
            prop_assert!(session.poll_timeout().is_none_or(|at| at > after(ms).mono_ms));
        }
    }
}
