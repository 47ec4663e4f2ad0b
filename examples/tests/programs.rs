//! The tests inside the programs. As examples they would be built as tests or as programs, and other tests
//! run the programs.

#[path = "../e2e/arguments.rs"]
mod e2e;
#[expect(dead_code, reason = "what only `main` calls")]
#[path = "../generate.rs"]
mod generate;
#[expect(dead_code, reason = "what only `main` calls")]
#[path = "../pretrain/main.rs"]
mod pretrain;
#[expect(dead_code, reason = "what only `main` calls")]
#[path = "../sweep/main.rs"]
mod sweep;
