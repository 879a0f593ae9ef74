//! `proto/wire.lock`: every number of the wire, in a file that reviewers see change.
//!
//! A line for each field, enum value, method and reserved number, as the compiled schema has it.
//! Adding a line is fine and only wants the file updated; a line that changes or goes breaks every
//! process that runs today, and no switch makes this test take it.

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, ServiceDescriptorProto,
};
use std::collections::{BTreeMap, BTreeSet};

/// Set to 1 to write the file anew.
const UPDATE: &str = "BEELINE_UPDATE_LOCK";

const HEADER: &str = "\
# Every number of the wire, one a line; tests/wire_lock.rs compares it with the compiled schema.
# After adding to the schema: BEELINE_UPDATE_LOCK=1 cargo test -p beeline-proto --lib wire_lock
# A line that is here stays: give what changes a new number, and reserve the old one.
";

fn lock_path() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/wire.lock")
}

/// What the compiled schema says: `name` → the rest of its line.
type Lines = BTreeMap<String, String>;

fn type_name(field: &FieldDescriptorProto) -> String {
    match field.r#type() {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        scalar => scalar
            .as_str_name()
            .trim_start_matches("TYPE_")
            .to_lowercase(),
    }
}

fn label(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let oneof = field
        .oneof_index
        .and_then(|at| message.oneof_decl.get(at as usize));
    match oneof {
        Some(oneof) => format!("oneof:{}", oneof.name()),
        None if field.label() == Label::Repeated => "repeated".to_owned(),
        None => "single".to_owned(),
    }
}

fn message_lines(scope: &str, message: &DescriptorProto, lines: &mut Lines) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        let rest = format!(
            "= {} {} {}",
            field.number(),
            type_name(field),
            label(message, field)
        );
        lines.insert(format!("{name}.{}", field.name()), rest);
    }
    for range in &message.reserved_range {
        for number in range.start()..range.end() {
            lines.insert(format!("{name} reserved {number}"), String::new());
        }
    }
    for nested in &message.nested_type {
        message_lines(&name, nested, lines);
    }
    for nested in &message.enum_type {
        enum_lines(&name, nested, lines);
    }
}

fn enum_lines(scope: &str, item: &EnumDescriptorProto, lines: &mut Lines) {
    let name = format!("{scope}.{}", item.name());
    for value in &item.value {
        let rest = format!("= {} enum", value.number());
        lines.insert(format!("{name}.{}", value.name()), rest);
    }
    for range in &item.reserved_range {
        for number in range.start()..=range.end() {
            lines.insert(format!("{name} reserved {number}"), String::new());
        }
    }
}

fn service_lines(scope: &str, service: &ServiceDescriptorProto, lines: &mut Lines) {
    for method in &service.method {
        let stream = |on: bool| if on { "stream " } else { "" };
        let rest = format!(
            "({}{}) -> {}{}",
            stream(method.client_streaming()),
            method.input_type().trim_start_matches('.'),
            stream(method.server_streaming()),
            method.output_type().trim_start_matches('.'),
        );
        lines.insert(
            format!("{scope}.{}.{}", service.name(), method.name()),
            rest,
        );
    }
}

fn schema_lines(files: &[FileDescriptorProto]) -> Lines {
    let mut lines = Lines::new();
    for file in files.iter().filter(|f| f.package().starts_with("beeline.")) {
        for message in &file.message_type {
            message_lines(file.package(), message, &mut lines);
        }
        for item in &file.enum_type {
            enum_lines(file.package(), item, &mut lines);
        }
        for service in &file.service {
            service_lines(file.package(), service, &mut lines);
        }
    }
    lines
}

fn compiled() -> Lines {
    let set = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).expect("our own descriptors");
    schema_lines(&set.file)
}

fn parse(text: &str) -> Lines {
    let entries = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let split = |line: &str| match line.split_once(" = ").map(|(n, r)| (n, format!("= {r}"))) {
        Some((name, rest)) => (name.to_owned(), rest),
        None => match line.split_once(" (") {
            Some((name, rest)) => (name.to_owned(), format!("({rest}")),
            None => (line.to_owned(), String::new()),
        },
    };
    entries.map(split).collect()
}

fn print(lines: &Lines) -> String {
    let body = lines
        .iter()
        .map(|(name, rest)| format!("{name} {rest}").trim_end().to_owned());
    HEADER.to_owned() + &body.map(|line| line + "\n").collect::<String>()
}

/// Whether the schema keeps the number of a locked line that is gone from ever coming back.
fn is_reserved(name: &str, rest: &str, schema: &Lines) -> bool {
    let number = rest.split(' ').nth(1);
    let scope = name.rsplit_once('.').map(|(scope, _)| scope);
    match (scope, number) {
        (Some(scope), Some(number)) => schema.contains_key(&format!("{scope} reserved {number}")),
        _ => false,
    }
}

/// What the schema adds to the lock, or what it breaks.
fn compare(locked: &Lines, schema: &Lines) -> Result<BTreeSet<String>, Vec<String>> {
    let mut broken = Vec::new();
    for (name, rest) in locked {
        match schema.get(name) {
            Some(now) if now == rest => {}
            Some(now) => broken.push(format!("changed: {name} was `{rest}`, is `{now}`")),
            None if is_reserved(name, rest, schema) => {}
            None => broken.push(format!("gone: {name} {rest}")),
        }
    }
    if !broken.is_empty() {
        return Err(broken);
    }
    let new = |name: &&String| !locked.contains_key(*name);
    Ok(schema.keys().filter(new).cloned().collect())
}

#[test]
fn the_schema_keeps_every_locked_number() {
    let schema = compiled();
    let text = std::fs::read_to_string(lock_path()).unwrap_or_default();
    let added = compare(&parse(&text), &schema).unwrap_or_else(|broken| {
        panic!(
            "the schema breaks the wire:\n  {}\nPut it back as it was. What must differ gets a new \
             number, and the old number and name become `reserved`; only then may its line go. \
             What cannot be done so is a new package version (v2) beside v1.",
            broken.join("\n  ")
        )
    });
    if std::env::var_os(UPDATE).is_some_and(|v| v == "1") {
        std::fs::write(lock_path(), print(&schema)).expect("proto/wire.lock can be written");
        return;
    }
    assert!(
        text == print(&schema),
        "proto/wire.lock is behind the schema; new: {added:?}\n\
         Look at the numbers once more, then run:\n  \
         {UPDATE}=1 cargo test -p beeline-proto --lib wire_lock"
    );
}

#[test]
fn every_file_of_the_schema_is_compiled() {
    let listed: BTreeSet<String> = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET)
        .expect("our own descriptors")
        .file
        .iter()
        .map(|f| f.name().to_owned())
        .collect();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut folders = vec![root.join("beeline")];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the schema's folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path
                .strip_prefix(&root)
                .expect("below proto")
                .to_string_lossy()
                .into_owned();
            assert!(listed.contains(&name), "{name} is not in build.rs");
            found += 1;
        }
    }
    assert!(found >= 9, "found only {found} files");
}

#[test]
fn planted_breaks_are_found() {
    let schema = compiled();
    assert_eq!(compare(&schema, &schema), Ok(BTreeSet::new()));
    assert_eq!(
        parse(&print(&schema)),
        schema,
        "the file says all the schema does"
    );

    let field = "beeline.peer.v1.ChatMessage.content".to_owned();
    let value = "beeline.signal.v1.SignalFrame.Type.OFFER".to_owned();
    let method = "beeline.registry.v1.RegistryService.Join".to_owned();
    for name in [&field, &value, &method] {
        let mut without = schema.clone();
        let rest = without.remove(name).expect("a line of the schema");
        assert_eq!(
            compare(&without, &schema),
            Ok(BTreeSet::from([name.clone()])),
            "added"
        );
        assert_eq!(
            compare(&schema, &without),
            Err(vec![format!("gone: {name} {rest}")])
        );
        let mut other = schema.clone();
        other.insert(name.clone(), "= 99 other".to_owned());
        assert!(compare(&schema, &other).is_err(), "{name} changed");
    }

    let mut reserved = schema.clone();
    reserved.remove(&field);
    reserved.insert(
        "beeline.peer.v1.ChatMessage reserved 2".to_owned(),
        String::new(),
    );
    assert!(
        compare(&schema, &reserved).is_ok(),
        "a reserved number may lose its name"
    );
}
