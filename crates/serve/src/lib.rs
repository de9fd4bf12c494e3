//! Answers requests: an Open Inference Protocol server for one model, and the proxy that splits traffic between two.
//!
//! ```text
//!             ┌─ proxy ─┐ weight      ┌────────── server (one process, one model) ──────────┐
//! users ────> │  share  │ ──────────> │ oip ─> infer ─> pool of sessions ─> predict ─> token │
//!             └─────────┘             │                     │ sampled, off the request's path│
//!                                     │ feedback <─ token   └─> shadow ──> the other server  │
//!                                     │ metrics                                              │
//!                                     └──────────────────────────────────────────────────────┘
//! ```
//!
//! A server knows nothing of rollouts: it answers, and counts what others decide by.

mod app;
mod config;
mod error;
mod feedback;
mod infer;
mod listen;
mod metrics;
mod models;
mod oip;
pub mod page;
mod predict;
mod process;
pub mod proxy;
mod replay;
mod server;
mod shadow;
mod share;
mod token;
mod workers;

pub use config::{Fault, Limits, Percent, PercentError, Role, ServerConfig, Task, WarmUp};
pub use predict::TaskError;
pub use server::{ServeError, Server, run};
pub use token::TokenKey;
