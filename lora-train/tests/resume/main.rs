//! Runs that stop and go on, and what else a trainer keeps.
//!
//! Flex's random generator is the process's, and dropout takes numbers from it: these tests run one
//! after the other.

mod accumulation;
mod common;
mod endings;
mod folders;
mod resuming;
