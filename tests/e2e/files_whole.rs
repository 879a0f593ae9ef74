//! Files as people have them: one large one, folders of many small ones, and of names that nobody
//! should have. Small here; `tests/files/run` plays them in full size, with the release build.

use crate::files::{Scene, assert_tidy, content, mode, text};
use crate::process::Done;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of the large file, MiB, unless `BEELINE_FILES_MIB` says otherwise.
const MIB: u64 = 12;

/// Files in the large folder, unless `BEELINE_FILES_COUNT` says otherwise.
const COUNT: u64 = 600;

fn number(variable: &str, usual: u64) -> u64 {
    let said = std::env::var(variable);
    said.ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

/// Tells people who watch.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes so many MiB that nothing can shorten, one at a time.
fn fill(path: &Path, mib: u64) {
    let mut file = File::create(path).expect("made");
    for n in 0..mib {
        file.write_all(&content(1 << 20, n + 7)).expect("written");
    }
}

fn sha256(path: &Path) -> String {
    let done = Command::new("sha256sum").arg(path).output();
    let done = done.expect("there is sha256sum");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// What the sender's last line says of the time, milliseconds.
fn took(sent: &Done) -> u64 {
    sent.only("files")["elapsedMs"].as_u64().expect("a time")
}

/// Largest memory a process had, MiB.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0u64) / 1_024
}

#[tokio::test]
async fn a_large_file_is_the_same_on_the_other_side() {
    let scene = Scene::set().await;
    let mib = number("BEELINE_FILES_MIB", MIB);
    let path = scene.out.join("large.bin");
    fill(&path, mib);
    let mut listen = scene.listening().await;
    let sent = scene.alice.run(&["send-file", "carol", &text(&path)]).await;
    sent.expect_code(0);
    let arrived = scene.received(&mut listen).await;
    let sums = [&path, &arrived].map(|path| sha256(path));
    let (ms, peak) = (took(&sent), peak(listen.pid()));
    let speed = mib * 1_000 / ms.max(1);
    say(&format!(
        "{mib} MiB in {ms} ms, hashing and syncing included: {speed} MiB/s; the receiver had at \
         most {peak} MiB\n  sha256 here  {}\n  sha256 there {}",
        sums[0], sums[1]
    ));
    assert_eq!(sums[0], sums[1]);
    assert_eq!(sums[0].len(), 64);
    // Progress: some, and no more than four times a second.
    let moving = |line: &&&serde_json::Value| line["state"] == "moving";
    let told = sent.all("file").iter().filter(moving).count() as u64;
    assert!(told >= 1 && told <= 2 + ms / 250, "{told} in {ms} ms");
    listen.terminate().await.expect_code(0);
    assert_tidy(&scene.inbox, 1);
}

#[tokio::test]
async fn a_folder_of_many_small_files_arrives_whole() {
    let scene = Scene::set().await;
    let count = number("BEELINE_FILES_COUNT", COUNT);
    let folder = scene.out.join("many");
    for n in 0..count {
        let dir = folder.join(format!("{}", n % 97));
        std::fs::create_dir_all(&dir).expect("made");
        std::fs::write(dir.join(format!("{n}")), content(1_024, n)).expect("written");
    }
    let mut listen = scene.listening().await;
    let sent = scene
        .alice
        .run(&["send-file", "carol", &text(&folder)])
        .await;
    sent.expect_code(0);
    let arrived = scene.received(&mut listen).await;
    let ms = took(&sent);
    let speed = count * 1_000 / ms.max(1);
    say(&format!(
        "{count} files of 1 KiB in {ms} ms: {speed} files/s"
    ));
    for n in 0..count {
        let path = arrived.join(format!("{}/{n}", n % 97));
        assert!(
            std::fs::read(&path).expect("there") == content(1_024, n),
            "{n}"
        );
    }
    listen.terminate().await.expect_code(0);
    assert_tidy(&scene.inbox, 1);
}

/// Names a file system takes and people should not: they hide, lie, end up elsewhere on another
/// system, or say something to a terminal or a command.
fn hostile_names() -> Vec<OsString> {
    let texts = [
        "..\\..\\escape",
        "C:\\boot.ini",
        "\\\\?\\x",
        "CON",
        "nul.txt",
        "com1.tar.gz",
        "lpt¹",
        "-rf",
        "--help",
        "~",
        "~root",
        "$(touch pwned)",
        "`id`",
        "; rm -rf .",
        "a|b",
        "a&b",
        "*",
        "?",
        "\u{1b}[2J\u{1b}[31m",
        "\u{7}bell",
        "line\nbreak",
        "tab\tbed",
        "cr\rover",
        " ",
        "  ",
        ".",
        ".hidden",
        "...",
        ". ",
        "end.",
        "end ",
        "a\u{202e}gpj.exe",
        "zero\u{200b}width",
        "\u{feff}bom",
        "\u{2028}",
        "A",
        "a",
        "ä",
        "a\u{308}",
        "\u{e0041}tag",
        "con ",
        "aux",
        "clock$",
        "\"quoted\"",
        "<b>",
        "a:stream",
        "desktop.ini",
        ".beeline-parts",
        "%2e%2e%2f",
    ];
    let mut names: Vec<OsString> = texts.iter().map(OsString::from).collect();
    names.extend(
        [
            "x".repeat(255),
            "ä".repeat(127),
            format!("{}.jpg", "y".repeat(251)),
        ]
        .map(Into::into),
    );
    names.extend(
        [b"\xff\xfe".as_slice(), b"caf\xe9", b"\xc0\xae\xc0\xae"]
            .map(|b| OsStr::from_bytes(b).to_owned()),
    );
    names.retain(|name| name != ".");
    names
}

fn all_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        found.push(path.clone());
        if path.symlink_metadata().expect("there").is_dir() {
            all_below(&path, found);
        }
    }
}

#[tokio::test]
async fn a_folder_of_hostile_names_arrives_harmlessly() {
    let scene = Scene::set().await;
    let folder = scene.out.join("corpus");
    let names = hostile_names();
    let dirs = ["\u{202e}txt", ".ssh", "..\\up", "CON", "deep"];
    for dir in dirs {
        std::fs::create_dir_all(folder.join(dir)).expect("made");
        std::fs::create_dir_all(folder.join(dir).join("\u{1b}empty")).expect("made");
    }
    let mut sent = BTreeSet::new();
    for (n, name) in names.iter().enumerate() {
        let dir = [".", dirs[n % dirs.len()]][n % 2];
        let bytes = content(64 + n, n as u64 + 1);
        std::fs::write(folder.join(dir).join(name), &bytes).expect("written");
        sent.insert(bytes);
    }
    std::os::unix::fs::symlink("/etc/passwd", folder.join("link")).expect("linked");
    std::os::unix::fs::symlink("/etc", folder.join("way out")).expect("linked");
    let mut listen = scene.listening().await;
    let path = text(&folder);
    let done = scene.alice.run(&["send-file", "carol", &path]).await;
    done.expect_code(0);
    let arrived = scene.received(&mut listen).await;
    let (mut found, mut got) = (Vec::new(), BTreeSet::new());
    all_below(&arrived, &mut found);
    for path in &found {
        let name = path.file_name().and_then(OsStr::to_str).expect("text");
        let bad = |c: char| c.is_control() || "/\\:*?\"<>|\u{202e}\u{200b}\u{feff}".contains(c);
        assert!(!name.contains(bad) && name.len() <= 255, "{name:?}");
        assert!(!name.starts_with(['.', '-', '~', ' ']), "{name:?}");
        assert!(!name.ends_with(['.', ' ']), "{name:?}");
        let kind = path.symlink_metadata().expect("there").file_type();
        assert!(kind.is_dir() || kind.is_file(), "{name:?}");
        if kind.is_file() {
            assert_eq!(mode(path), 0o600);
            got.insert(std::fs::read(path).expect("read"));
        }
    }
    assert_eq!(got, sent, "each once, byte for byte");
    assert_eq!(found.len(), names.len() + 2 * dirs.len());
    say(&format!(
        "{} hostile names arrived as harmless ones",
        names.len()
    ));
    listen.terminate().await.expect_code(0);
    assert_tidy(&scene.inbox, 1);
}
