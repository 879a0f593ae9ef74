//! The store under test: every operation, crashes, a full disk, sharing of commits.
