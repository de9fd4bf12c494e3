//! `sentei serve`: flags become a server's configuration; signals and a closed standard input stop it.

use std::{io::Write, num::NonZeroUsize, path::Path};

use anyhow::{Context, Result, bail};
use sentei_api::status::Role;
use sentei_runtime::SessionOptions;
use sentei_serve::{Fault, Server, ServerConfig, Task, TokenKey};
use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    signal::unix::{SignalKind, signal},
};

use crate::{
    cli::{self, FaultKind},
    ending::Ending,
    terminal::Terminal,
};

/// Serves until told to stop.
pub fn serve(args: &cli::Serve, onnxruntime: Option<&Path>, terminal: &Terminal) -> Result<Ending> {
    let runtime = crate::runtime::load(onnxruntime, terminal)?;
    let role = match args.role {
        Role::Baseline => sentei_serve::Role::Baseline,
        Role::Candidate => sentei_serve::Role::Candidate,
    };
    let mut config = ServerConfig::new(runtime, &args.model, &args.name, &args.model_version, role);
    config.listen = args.listen;
    config.address_file.clone_from(&args.address_file);
    config.slices.clone_from(&args.slices);
    config.session = SessionOptions { threads: 1, ..SessionOptions::default() };
    config.sessions = NonZeroUsize::new(args.sessions).context("--sessions is 0, expected at least 1")?;
    config.task = task(&args.task, args.task_output.clone())?;
    if let Some(key) = &args.feedback_key {
        let secret = hex::decode(key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        config.key = TokenKey::from(secret.context("the feedback key is not 64 hexadecimal digits")?);
    }
    config.fault = args.inject.map(|fault| match fault.kind {
        FaultKind::Error => Fault::Error { after: fault.after },
        FaultKind::Crash => Fault::Crash { after: fault.after },
        FaultKind::Slow(added) => Fault::Slow { added },
    });
    let with_stdin = args.exit_with_stdin;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let server = Server::bind(config).await?;
        let address = server.address();
        terminal.event(
            "Serving",
            &format!("  · {:<24} http://{address}/v2/models/{}", "Serving", args.name),
            json!({ "address": address.to_string(), "model": args.name }),
        );
        std::io::stdout().flush()?;
        server.run(stopped(with_stdin)).await?;
        Ok(Ending::Done)
    })
}

fn task(text: &str, output: Option<String>) -> Result<Task> {
    match text.split_once(':') {
        None if text == "classification" => Ok(Task::Classification { output }),
        None if text == "none" => Ok(Task::None),
        Some(("regression", tolerance)) => {
            let tolerance = tolerance.parse().ok().filter(|tolerance: &f64| *tolerance >= 0.0).with_context(|| {
                format!("--task: `{tolerance}` is not a tolerance, expected a number of at least 0")
            })?;
            Ok(Task::Regression { output, tolerance })
        }
        _ => bail!("--task is `{text}`, expected classification, regression:TOLERANCE or none"),
    }
}

/// Ends on SIGINT, SIGTERM or, for a supervised server, when the supervisor is gone.
async fn stopped(with_stdin: bool) {
    let interrupt = async {
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            }
            // Without signals a server can still be killed; it must not stop at once.
            _ => std::future::pending().await,
        }
    };
    let closed = async {
        if !with_stdin {
            return std::future::pending().await;
        }
        let mut byte = [0];
        // Bytes are ignored; the end, or an error, means that nobody holds the other end.
        while matches!(tokio::io::stdin().read(&mut byte).await, Ok(1)) {}
    };
    tokio::select! { () = interrupt => {}, () = closed => {} }
}
