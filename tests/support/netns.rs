//! Network namespaces for tests: each is held by a small process that ends with the test, so that
//! nothing is left behind, whatever ends it, and names cannot clash.
//!
//! Needs root on Linux. Where namespaces cannot be had, a test fails and says what to do.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// What to do where there are no namespaces.
const ADVICE: &str = "network namespaces need root on Linux (in a container: CAP_SYS_ADMIN and \
                      CAP_NET_ADMIN, as with `docker run --privileged`); run the tests as root";

/// Holds the namespaces until its input ends: on our word, or with us. It has an own view of files
/// too, so that names of hosts can be its own.
const HOLD: &str = "if [ -n \"$1\" ]; then mount --bind \"$1\" /etc/hosts; fi && \
                    ip link set lo up && echo held && exec cat";

/// A network namespace, there as long as the value.
#[derive(Debug)]
pub struct Netns {
    name: String,
    holder: Child,
}

impl Netns {
    /// Makes an empty one: loopback and nothing else. The name is for messages only.
    ///
    /// # Panics
    /// Where namespaces cannot be had, with what to do.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::make(name, None)
    }

    /// The same, where names of hosts are looked up in this file.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn with_hosts(name: &str, hosts: &Path) -> Self {
        Self::make(name, Some(hosts))
    }

    fn make(name: &str, hosts: Option<&Path>) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "sh", "-c", HOLD, "hold"]);
        command.arg(hosts.map_or_else(Default::default, Path::as_os_str));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let spawned = command.spawn();
        let mut holder = spawned.unwrap_or_else(|error| panic!("unshare: {error}; {ADVICE}"));
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("stdout is piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        assert!(read.is_ok() && line == "held\n", "{name}: {ADVICE}");
        let name = name.to_owned();
        Self { name, holder }
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A process in it, for `ip link … netns PID`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A command in it. It dies with the thread that starts it; its directory is the root.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter", "--target"]);
        command.arg(self.pid().to_string());
        command.args(["--net", "--mount"]).arg(program);
        command
    }

    /// Runs lines of `ip`, one each.
    ///
    /// # Panics
    /// If one fails.
    pub fn ip(&self, lines: &str) {
        let mut command = self.command("ip");
        self.fed(command.args(["-batch", "-"]), lines);
    }

    /// Loads rules of nftables.
    ///
    /// # Panics
    /// If one is refused.
    pub fn nft(&self, rules: &str) {
        let mut command = self.command("nft");
        self.fed(command.args(["-f", "-"]), rules);
    }

    fn fed(&self, command: &mut Command, input: &str) {
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let spawned = command.stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        self.expect_success(&output, input);
    }

    /// Runs a command in it to its end; what it printed.
    ///
    /// # Panics
    /// If it fails.
    #[must_use]
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        self.expect_success(&output, &format!("{program} {args:?}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn expect_success(&self, output: &Output, what: &str) {
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "in {}: {what}\n{told}", self.name);
    }

    /// Does something on a thread of its own inside: what it opens belongs to this namespace.
    ///
    /// # Panics
    /// With what `act` panics.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.pid());
        let space = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let entered = move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(space.as_fd(), kind)
                .unwrap_or_else(|error| panic!("setns: {error}; {ADVICE}"));
            act()
        };
        std::thread::scope(|scope| match scope.spawn(entered).join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Sets values under `/proc/sys/net`.
    ///
    /// # Panics
    /// If the kernel does not know one or refuses it.
    pub fn sysctl(&self, values: &[(&str, &str)]) {
        self.inside(|| {
            for (name, value) in values {
                let path = format!("/proc/sys/net/{name}");
                std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
            }
        });
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Joins two namespaces by a cable: an interface in each.
///
/// # Panics
/// If the names are taken or too long.
pub fn cable(one: (&Netns, &str), other: (&Netns, &str)) {
    let (pid, near, far) = (other.0.pid(), one.1, other.1);
    one.0.ip(&format!(
        "link add {near} type veth peer name {far} netns {pid}\nlink set {near} up\n"
    ));
    other.0.ip(&format!("link set {far} up\n"));
}
