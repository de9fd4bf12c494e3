//! Serves one classifier until interrupted: `cargo run -p sentei-serve --example one_model -- model.onnx name 127.0.0.1:8000`.

use std::{error::Error, path::Path};

use sentei_runtime::{Runtime, locate};
use sentei_serve::{Role, Server, ServerConfig, Task};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(name), Some(listen)) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("three arguments were expected: MODEL.onnx NAME ADDRESS:PORT".into());
    };
    let library = locate(None)?;
    let runtime = Runtime::load(&library)?;
    let config = ServerConfig {
        listen: listen.parse()?,
        task: Task::Classification { output: None },
        ..ServerConfig::new(runtime, Path::new(&model), &name, "1", Role::Baseline)
    };
    let server = Server::bind(config).await?;
    println!("{library}; `{name}` on http://{}", server.address());
    server.run(async { drop(tokio::signal::ctrl_c().await) }).await?;
    Ok(())
}
