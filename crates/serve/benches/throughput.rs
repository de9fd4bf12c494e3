//! What serving costs on top of the model: `cargo bench -p sentei-serve`.
//!
//! In one run on one machine: how many inferences a second the sessions give in-process, how many the server gives over
//! HTTP with JSON bodies on 32 connections (and as bytes), as ratios; and what the proxy adds to the median latency and
//! to the processor time of a request. The client shares the machine, so its own work counts against the server.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops where it cannot go on")]

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use sentei_runtime::{Pool, Runtime, SessionOptions, Tensor, locate};
use sentei_serve::{
    Role, Server, ServerConfig, Task,
    proxy::{Proxy, ProxyConfig},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CONNECTIONS: usize = 32;
const ROUND: Duration = Duration::from_millis(700);
const ROUNDS: usize = 9;
const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/digits_resnet20.onnx");

fn main() {
    let library = locate(None).expect("an ONNX Runtime");
    let runtime = Runtime::load(&library).expect("loads");
    println!("{library}; {} processors", processors());
    event_loop().block_on(measure(runtime));
}

/// Runs a server on a thread and an event loop of its own, as a process would; gives its address.
fn on_its_own<F: AsyncFnOnce(mpsc::Sender<SocketAddr>) + Send + 'static>(serve: F) -> SocketAddr {
    let (bound, address) = mpsc::channel();
    std::thread::spawn(move || event_loop().block_on(serve(bound)));
    address.recv().expect("bound")
}

fn event_loop() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().expect("known")
}

async fn measure(runtime: Arc<Runtime>) {
    let task = Task::Classification { output: None };
    let config =
        ServerConfig { task, ..ServerConfig::new(Arc::clone(&runtime), MODEL, "digits", "v1", Role::Baseline) };
    let address = on_its_own(async |bound| {
        let server = Server::bind(config).await.expect("a port");
        bound.send(server.address()).expect("awaited");
        server.run(std::future::pending()).await.expect("serves");
    });
    let through_proxy = on_its_own(async move |bound| {
        let proxy = Proxy::bind(ProxyConfig::new(address)).await.expect("ports");
        bound.send(proxy.address()).expect("awaited");
        proxy.run(std::future::pending()).await;
    });

    let pixels: Vec<f32> = (0..784).map(|i| ((i * 37) % 255) as f32 / 127.0 - 1.0).collect();
    let json = request(&json_body(&pixels), None);
    let (body, header) = binary_body(&pixels);
    let bytes = request(&body, Some(header));
    wait_until_ready(address, &json).await;

    let pool = {
        let runtime = Arc::clone(&runtime);
        move || {
            Pool::from_file(&runtime, Path::new(MODEL), &SessionOptions::default(), processors().get()).expect("a pool")
        }
    };
    let pool = tokio::task::spawn_blocking(pool).await.expect("no panic");
    // Short rounds in turn, so that a busy neighbour or a clock change falls on all alike; ratios are taken within a turn.
    let live = b"GET /v2/health/live HTTP/1.1\r\nHost: bench\r\n\r\n";
    let mut turns: [Vec<Run>; 5] = Default::default();
    for _ in 0..ROUNDS {
        turns[0].push(in_process(&pool, &pixels).await);
        turns[1].push(load(address, &json, CONNECTIONS).await);
        turns[2].push(load(address, &bytes, CONNECTIONS).await);
        turns[3].push(load(through_proxy, &json, CONNECTIONS).await);
        turns[4].push(load(address, live, CONNECTIONS).await);
    }
    println!(
        "{CONNECTIONS} connections, medians of {ROUNDS} turns; processor time is of model, server and client together"
    );
    println!("{:24} {:>9} {:>9} {:>12} {:>22}", "", "a second", "p50 us", "us of CPU", "ratio (rate, of CPU)");
    let names = ["in-process limit", "HTTP, JSON", "HTTP, bytes", "HTTP, JSON, proxy", "HTTP alone (liveness)"];
    for (name, runs) in names.iter().zip(&turns) {
        let of = |value: fn(&Run) -> f64| median(runs.iter().map(value));
        let ratio =
            |value: fn(&Run, &Run) -> f64| median(runs.iter().zip(&turns[0]).map(|(run, limit)| value(run, limit)));
        println!(
            "{name:24} {:9.0} {:9.0} {:12.0} {:15.2} {:6.2}",
            of(|run| run.per_second),
            of(|run| run.p50_us),
            of(|run| run.cpu_us),
            ratio(|run, limit| run.per_second / limit.per_second),
            ratio(|run, limit| limit.cpu_us / run.cpu_us),
        );
    }

    let (mut direct, mut proxied) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        direct.push(load(address, &json, 1).await);
        proxied.push(load(through_proxy, &json, 1).await);
    }
    let p50 = |runs: &[Run]| median(runs.iter().map(|run| run.p50_us));
    println!(
        "one connection: p50 {:.0} us direct, {:.0} us through the proxy: it adds {:.0} us, and {:.0} us of processor a request",
        p50(&direct),
        p50(&proxied),
        p50(&proxied) - p50(&direct),
        cpu(&proxied) - cpu(&direct),
    );
}

struct Run {
    per_second: f64,
    p50_us: f64,
    /// Of this whole process: model, server, proxy and client.
    cpu_us: f64,
}

fn cpu(runs: &[Run]) -> f64 {
    median(runs.iter().map(|run| run.cpu_us))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Processor time of this process, in microseconds.
fn process_cpu_us() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks: u64 =
        fields.split_ascii_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    ticks as f64 * 10_000.0
}

async fn in_process(pool: &Arc<Pool>, pixels: &[f32]) -> Run {
    let image = Tensor::new([1, 1, 28, 28], pixels.to_vec()).expect("fits");
    let (begun, cpu) = (Instant::now(), process_cpu_us());
    let threads = (0..processors().get()).map(|_| {
        let (pool, image) = (Arc::clone(pool), image.clone());
        tokio::task::spawn_blocking(move || {
            let begun = Instant::now();
            let mut runs = 0_u64;
            while begun.elapsed() < ROUND {
                pool.run(&[("input", &image)], Some(&["logits"])).expect("answers");
                runs += 1;
            }
            runs
        })
    });
    let mut runs = 0;
    for thread in threads.collect::<Vec<_>>() {
        runs += thread.await.expect("no panic");
    }
    let (seconds, runs) = (begun.elapsed().as_secs_f64(), runs as f64);
    Run { per_second: runs / seconds, p50_us: seconds / runs * 1e6, cpu_us: (process_cpu_us() - cpu) / runs }
}

/// Sends `request` on each of `connections`, again as soon as it is answered, for one round.
async fn load(address: SocketAddr, request: &[u8], connections: usize) -> Run {
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let (begun, cpu) = (Instant::now(), process_cpu_us());
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let (stop, answered, request) = (Arc::clone(&stop), Arc::clone(&answered), request.to_vec());
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                let mut took = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let sent = Instant::now();
                    assert_eq!(client.send(&request).await, 200);
                    took.push(sent.elapsed().as_secs_f64() * 1e6);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                took
            })
        })
        .collect();
    tokio::time::sleep(ROUND).await;
    let (runs, seconds, cpu) =
        (answered.load(Ordering::Relaxed) as f64, begun.elapsed().as_secs_f64(), process_cpu_us() - cpu);
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for client in clients {
        took.extend(client.await.expect("no panic"));
    }
    Run { per_second: runs / seconds, p50_us: median(took.into_iter()), cpu_us: cpu / runs }
}

async fn wait_until_ready(address: SocketAddr, request: &[u8]) {
    while Client::connect(address).await.send(request).await != 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A client that does as little as HTTP allows, to take as little as possible from the server.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("set");
        Self { stream, buffer: vec![0; 16 << 10] }
    }

    /// Sends a request, reads the answer to its end, gives the status.
    async fn send(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.expect("sent");
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await.expect("an answer");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            let answer = &self.buffer[..filled];
            let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&answer[..head]).expect("ASCII");
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if filled == head + 4 + length.parse::<usize>().expect("a number") {
                return text[9..12].parse().expect("a status");
            }
        }
    }
}

fn request(body: &[u8], header: Option<usize>) -> Vec<u8> {
    let header = header.map_or(String::new(), |length| format!("Inference-Header-Content-Length: {length}\r\n"));
    let head = format!(
        "POST /v2/models/digits/infer HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n{header}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn json_body(pixels: &[f32]) -> Vec<u8> {
    let data = serde_json::to_string(pixels).expect("numbers");
    let json = format!(r#"{{"inputs":[{{"name":"input","shape":[1,1,28,28],"datatype":"FP32","data":{data}}}]}}"#);
    json.into_bytes()
}

fn binary_body(pixels: &[f32]) -> (Vec<u8>, usize) {
    let header = r#"{"inputs":[{"name":"input","shape":[1,1,28,28],"datatype":"FP32","parameters":{"binary_data_size":3136}}],"parameters":{"binary_data_output":true}}"#;
    let bytes = pixels.iter().flat_map(|pixel| pixel.to_le_bytes());
    (header.bytes().chain(bytes).collect(), header.len())
}
