//! The pure parts of signpost by their paths, to be compiled with optimisation in seconds while all else stays as the tests have it.
//! Their tests are run where they belong.

#[cfg(not(test))]
#[path = "../../../src/repo/mod.rs"]
pub mod repo;
#[cfg(not(test))]
#[path = "../../../src/syntax/mod.rs"]
pub mod syntax;
