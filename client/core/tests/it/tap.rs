//! The tap on links, as the tests here name it.

pub(crate) use client_core::testing::tap::*;
