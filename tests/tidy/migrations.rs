//! Migrations: numbered without gaps, never empty, the same steps for both registry databases.

use crate::source::{File, none, tree};

/// The databases, by directory.
const DATABASES: &[&str] = &["client", "postgres", "sqlite"];

/// The file names of one database's migrations, in order, and what is wrong with them.
fn steps<'a>(files: &[&'a File], database: &str, wrong: &mut Vec<String>) -> Vec<&'a str> {
    let prefix = format!("migrations/{database}/");
    let mut names = Vec::new();
    for file in files {
        let Some(name) = file
            .path
            .strip_prefix(&prefix)
            .filter(|name| name.ends_with(".sql"))
        else {
            continue;
        };
        names.push(name);
        if !name.starts_with(&format!("{:04}_", names.len())) {
            wrong.push(format!("{}: step {} is due", file.path, names.len()));
        }
        let code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("--");
        if file.text.lines().filter(code).count() == 0 {
            wrong.push(format!("{}: changes nothing", file.path));
        }
    }
    if names.is_empty() {
        wrong.push(format!("{prefix}: no migration"));
    }
    names
}

/// `files` sorted by path.
fn out_of_step(files: &[&File]) -> Vec<String> {
    let mut wrong = Vec::new();
    let all: Vec<Vec<&str>> = DATABASES
        .iter()
        .map(|database| steps(files, database, &mut wrong))
        .collect();
    if all[1] != all[2] {
        wrong.push(format!(
            "postgres has {:?}, sqlite has {:?}",
            all[1], all[2]
        ));
    }
    wrong
}

#[test]
fn migrations_are_in_step() {
    let files: Vec<&File> = tree().iter().collect();
    none("migrations", &out_of_step(&files));
}

#[test]
fn planted_missteps_are_found() {
    let sql = "-- Who.\nCREATE TABLE a (b INTEGER);\n";
    let file = |path: &str| File::new(&format!("migrations/{path}.sql"), sql);
    let sound = [
        file("client/0001_a"),
        file("postgres/0001_a"),
        file("sqlite/0001_a"),
    ];
    let wrong = |files: &[File]| out_of_step(&files.iter().collect::<Vec<_>>()).len();
    assert_eq!(wrong(&sound), 0);
    assert_eq!(wrong(&sound[..2]), 2);
    assert_eq!(
        wrong(&[
            file("client/0002_a"),
            file("postgres/0001_a"),
            file("sqlite/0001_a")
        ]),
        1
    );
    assert_eq!(
        wrong(&[
            file("client/0001_a"),
            file("postgres/0001_a"),
            file("sqlite/0001_b")
        ]),
        1
    );
    let empty = File::new("migrations/client/0001_a.sql", "-- Nothing.\n");
    assert_eq!(
        wrong(&[empty, file("postgres/0001_a"), file("sqlite/0001_a")]),
        1
    );
}
