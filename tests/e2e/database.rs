//! A database of one test's own on the PostgreSQL that `tests/run` started.

use sqlx::{AssertSqlSafe, Executor as _, PgPool};

/// A fresh database, and a connection to the server it is on.
pub(crate) struct Database {
    name: String,
    url: String,
    pool: PgPool,
}

impl Database {
    /// Creates one; `name` tells tests apart.
    pub(crate) async fn create(name: &str) -> Self {
        let server = std::env::var("BEELINE_TEST_POSTGRES").expect(
            "BEELINE_TEST_POSTGRES names a PostgreSQL server: run tests/run, which starts one",
        );
        let pool = PgPool::connect(&server).await.expect("PostgreSQL answers");
        let name = format!("beeline_{name}_{}", std::process::id());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
        pool.execute(sqlx::raw_sql(create))
            .await
            .expect("the role may create databases");
        let (base, _) = server.rsplit_once('/').expect("a URL with a database");
        let url = format!("{base}/{name}");
        Self { name, url, pool }
    }

    /// What `--database-url` takes.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends every connection to it, as a restart of PostgreSQL does. Answers how many there were.
    pub(crate) async fn cut_connections(&self) -> usize {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
        let cut = sqlx::query(sql).bind(&self.name).fetch_all(&self.pool);
        cut.await.expect("the role may end its own sessions").len()
    }
}
