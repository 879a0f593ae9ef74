//! The schema, as files of `migrations/`, compiled in and applied at start, each in a transaction
//! of its own. A file that was applied may never change: its SHA-256 is kept beside its number.

use beeline_proto::id::sha256;

/// Which of SQLite's two files a migration belongs to. PostgreSQL has one database for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Who exists: `registry.db`.
    Identity,
    /// Who was seen where: `leases.db`.
    Presence,
}

/// One file.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number; they count from 1 without gaps.
    pub version: i64,
    /// Its name without number and ending.
    pub name: &'static str,
    /// What it is about.
    pub area: Area,
    /// Its text.
    pub sql: &'static str,
}

impl Migration {
    /// What is kept to notice a changed file.
    pub fn hash(&self) -> Vec<u8> {
        sha256(self.sql.as_bytes()).to_vec()
    }

    /// The refusal when it does not match what was applied.
    pub fn changed(&self) -> String {
        format!(
            "migration {:04}_{} was applied with another text; a file that has been released may \
             not change",
            self.version, self.name
        )
    }

    /// The refusal of a database that a newer program has migrated.
    pub fn newer(version: i64) -> String {
        format!(
            "the database is at migration {version}, which this program does not know; update it"
        )
    }
}

/// The statement that makes the table of applied migrations, in both dialects.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    BIGINT NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    sha256     {BYTES} NOT NULL,
    applied_ms BIGINT NOT NULL
)";

macro_rules! migration {
    ($dialect:literal, $version:literal, $number:literal, $name:literal, $area:ident) => {
        Migration {
            version: $version,
            name: $name,
            area: Area::$area,
            sql: include_str!(concat!(
                "../../../migrations/",
                $dialect,
                "/",
                $number,
                "_",
                $name,
                ".sql"
            )),
        }
    };
}

/// SQLite's files.
pub const SQLITE: &[Migration] = &[
    migration!("sqlite", 1, "0001", "identity", Identity),
    migration!("sqlite", 2, "0002", "presence", Presence),
];

/// PostgreSQL's files.
pub const POSTGRES: &[Migration] = &[
    migration!("postgres", 1, "0001", "identity", Identity),
    migration!("postgres", 2, "0002", "presence", Presence),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_dialects_count_alike_from_one_and_list_every_file() {
        let outline = |list: &[Migration]| {
            let rows = list.iter().map(|m| (m.version, m.name, m.area));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(outline(SQLITE), outline(POSTGRES));
        let versions = SQLITE.iter().map(|m| m.version);
        assert!(versions.eq(1..=SQLITE.len() as i64));
        for dialect in ["sqlite", "postgres"] {
            let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/");
            let files = std::fs::read_dir(format!("{dir}{dialect}")).expect("the directory");
            let mut names: Vec<String> = files
                .map(|f| {
                    f.expect("an entry")
                        .file_name()
                        .to_string_lossy()
                        .into_owned()
                })
                .collect();
            names.sort();
            let listed = SQLITE
                .iter()
                .map(|m| format!("{:04}_{}.sql", m.version, m.name));
            assert_eq!(names, listed.collect::<Vec<_>>(), "{dialect}");
        }
    }
}
