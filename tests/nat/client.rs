//! A client of a party: a home that joined, and a `run` in it that is asked over its socket.

use super::file::inbox_of;
use super::program::{DEADLINE, Program, Wrong, binary};
use beeline_proto::pb::client::v1::client_service_client::ClientServiceClient;
use beeline_proto::pb::client::v1::{QueryRequest, SendRequest, SendResponse, WatchRequest};
use beeline_tests::netns::Netns;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::Channel;

/// Longest wait for a delivery, milliseconds: all rungs and their repeats.
const DELIVERY_MS: u32 = 30_000;

/// A running client.
pub(crate) struct Client {
    pub(crate) program: Program,
    pub(crate) service: ClientServiceClient<Channel>,
}

impl Client {
    /// Joins as a new user with a new home, goes online, and is ready to be asked.
    pub(crate) async fn join(
        space: &Netns,
        invite: &str,
        user: &str,
        dir: &Path,
    ) -> Result<Self, Wrong> {
        let beeline = binary("BEELINE_BIN", "beeline")?;
        let home = dir.join(user);
        let at = home.display().to_string();
        let join = ["--json", "--home", &at, "join", invite, "--user", user];
        let name = format!("{user}-join");
        Program::start(space, &name, dir, &beeline, &join)?
            .done()
            .await?;
        Self::run(space, user, dir).await
    }

    /// Goes online in a home that joined before.
    pub(crate) async fn run(space: &Netns, user: &str, dir: &Path) -> Result<Self, Wrong> {
        let beeline = binary("BEELINE_BIN", "beeline")?;
        let home = dir.join(user);
        let at = home.display().to_string();
        let files = inbox_of(dir, user).display().to_string();
        let run = ["--json", "--home", &at, "run", "--files", &files];
        let mut program = Program::start(space, user, dir, &beeline, &run)?;
        program.event("online").await?;
        program.drain();
        let uri = format!("unix://{}", home.join("beeline.sock").display());
        let service = ClientServiceClient::connect(uri).await;
        let service = service.map_err(|error| format!("{user}: {error}"))?;
        Ok(Self { program, service })
    }

    /// Sends a text, each text once; the states of it come as they happen.
    pub(crate) async fn send(
        &self,
        to: &str,
        text: &str,
    ) -> Result<Streaming<SendResponse>, Wrong> {
        let request = SendRequest {
            user_id: to.to_owned(),
            text: text.to_owned(),
            timeout_ms: DELIVERY_MS,
            idempotency_key: text.to_owned(),
            ..SendRequest::default()
        };
        let sent = self.service.clone().send(request).await;
        Ok(sent.map_err(|status| status.to_string())?.into_inner())
    }

    /// Whether there is a link to a user now.
    pub(crate) async fn is_linked(&self, user: &str) -> Result<bool, Wrong> {
        Ok(self.state_of(user).await?.as_deref() == Some("CONNECTED"))
    }

    /// The state of a user, where there is one.
    async fn state_of(&self, user: &str) -> Result<Option<String>, Wrong> {
        let question = QueryRequest {
            question: "peers".to_owned(),
            ..QueryRequest::default()
        };
        let answer = self.service.clone().query(question).await;
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        let lines = answer
            .json
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut states = lines.filter(|line: &Value| line["user"] == user);
        Ok(states
            .next()
            .and_then(|line| line["state"].as_str().map(str::to_owned)))
    }

    /// What `doctor` says, a check a line.
    pub(crate) async fn doctor(&self) -> Result<Vec<Value>, Wrong> {
        let question = QueryRequest {
            question: "doctor".to_owned(),
            ..QueryRequest::default()
        };
        let mut service = self.service.clone();
        let answer = timeout(DEADLINE, service.query(question)).await;
        let answer = answer.map_err(|_| "the doctor does not come to an end")?;
        let answer = answer.map_err(|status| status.to_string())?.into_inner();
        let lines = answer.json.iter().map(|line| serde_json::from_str(line));
        lines.map(|line| line.map_err(|e| e.to_string())).collect()
    }

    /// Waits until there is a link to a user; `false` if there is none after `at_most`.
    pub(crate) async fn linked(&self, user: &str, at_most: Duration) -> Result<bool, Wrong> {
        self.reaches(user, &["CONNECTED"], at_most).await
    }

    /// Waits until a user is in one of these states; `false` if not so after `at_most`.
    pub(crate) async fn reaches(
        &self,
        user: &str,
        states: &[&str],
        at_most: Duration,
    ) -> Result<bool, Wrong> {
        let events = vec!["peer".to_owned()];
        let mut service = self.service.clone();
        let watch = service.watch(WatchRequest { events });
        let watch = timeout(DEADLINE, watch)
            .await
            .map_err(|_| "the client does not answer")?;
        let mut watch = watch.map_err(|status| status.to_string())?.into_inner();
        if let Some(state) = self.state_of(user).await?
            && states.contains(&state.as_str())
        {
            return Ok(true);
        }
        let fits = |line: &Value| states.iter().any(|state| line["state"] == *state);
        let reached = async {
            while let Some(line) = watch.message().await.map_err(|status| status.to_string())? {
                let line: Value =
                    serde_json::from_str(&line.json).map_err(|error| error.to_string())?;
                if line["user"] == user && fits(&line) {
                    return Ok(true);
                }
            }
            Err("the client is gone".to_owned())
        };
        timeout(at_most, reached).await.unwrap_or(Ok(false))
    }

    /// Sends a text and waits for its proof: the path it took, or `None` if there is none in time.
    pub(crate) async fn say(&self, to: &str, text: &str) -> Result<Option<String>, Wrong> {
        let mut states = self.send(to, text).await?;
        let mut path = None;
        while let Some(state) = states
            .message()
            .await
            .map_err(|status| status.to_string())?
        {
            let line: Value = serde_json::from_str(&state.json).unwrap_or_default();
            if line["state"] == "delivered" {
                path = line["path"].as_str().map(str::to_owned);
            }
        }
        Ok(path)
    }
}
