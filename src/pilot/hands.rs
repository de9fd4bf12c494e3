//! Eyes and hands: what the pilot sees becomes an [`Observation`], what `step` decides is carried out. Nothing is
//! decided here.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use sentei_api::{
    quantity::Digest,
    status::{Role, Savings},
};
use sentei_rollout::{
    Effect, Plan, Server as Wanted,
    observation::{Compression, Observation, Parity, Request, RoleObservation, Scrape, ServerState},
};
use sentei_serve::{
    Percent,
    proxy::{Proxy, ProxyConfig, ProxyHandle},
};
use serde_json::json;
use tokio::task::JoinHandle;

use super::{
    compression::Worker,
    observe::{self, Page},
    parity::Golden,
    prometheus,
    supervisor::{Seen, Server, Template, epoch_now},
};
use crate::{cli::Fault, terminal::Terminal};

/// A readiness check or an order that takes longer than this has failed for this look.
const CALL_TIMEOUT: Duration = Duration::from_millis(800);

/// One role as last seen.
#[derive(Default)]
pub struct Watched {
    server: Option<Server>,
    digest: Option<Digest>,
    address: Option<SocketAddr>,
    /// The life in which it was last ready.
    ready_epoch: Option<u64>,
    /// The last page that could be read.
    pub page: Option<Page>,
}

/// The proxy and its task.
struct RunningProxy {
    handle: ProxyHandle,
    address: SocketAddr,
    epoch: u64,
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What the pilot is set up with.
pub struct Setup {
    pub terminal: Arc<Terminal>,
    pub template: Template,
    pub client: reqwest::Client,
    /// Where clients call the proxy.
    pub listen: SocketAddr,
    pub source: (PathBuf, Digest),
    /// Where candidates lie, by digest.
    pub artifacts: PathBuf,
    /// Rehearsed in the candidate's server.
    pub fault: Option<Fault>,
    pub golden: Golden,
    /// Servers that went down with an earlier pilot are being brought back.
    pub resuming: bool,
}

pub struct Hands {
    pub setup: Setup,
    pub worker: Option<Worker>,
    pub baseline: Watched,
    pub candidate: Watched,
    proxy: Option<RunningProxy>,
    /// What the baseline's sampler was last told: share, candidate, and in which life of the baseline.
    shadow: Option<(u8, SocketAddr, u64)>,
}

impl Hands {
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            worker: None,
            baseline: Watched::default(),
            candidate: Watched::default(),
            proxy: None,
            shadow: None,
        }
    }

    /// Where clients send their requests, once the baseline is ready.
    pub fn proxy_address(&self) -> Option<SocketAddr> {
        self.proxy.as_ref().map(|proxy| proxy.address)
    }

    /// One look at everything.
    pub async fn observe(
        &mut self,
        plan: &Plan,
        requests: Vec<Request>,
        savings: Option<Savings>,
    ) -> Result<Observation> {
        let (client, template) = (self.setup.client.clone(), &self.setup.template);
        let (baseline, candidate, (prometheus, mut errors)) = tokio::join!(
            self.baseline.look(template, &client, Role::Baseline),
            self.candidate.look(template, &client, Role::Candidate),
            prometheus::ask(&client, plan.queries())
        );
        let mut observation = Observation {
            generation: 1,
            compression: self
                .worker
                .as_ref()
                .map_or(Compression::NotStarted, |worker| worker.seen(plan.compression_key())),
            prometheus,
            requests,
            savings,
            ..Observation::default()
        };
        let proxy = self.proxy.as_ref().and_then(|proxy| {
            let page = observe::parse(proxy.handle.metrics().as_bytes()).ok()?;
            Some((page, proxy.epoch))
        });
        for (role, (state, error)) in [(Role::Baseline, baseline), (Role::Candidate, candidate)] {
            errors.extend(error);
            let watched = self.watched(role);
            let seen =
                RoleObservation { digest: watched.digest.clone(), state, scrapes: self.scrapes(role, proxy.as_ref()) };
            match role {
                Role::Baseline => observation.baseline = seen,
                Role::Candidate => observation.candidate = seen,
            }
        }
        self.follow_servers(&observation).await?;
        observation.parity = self.parity(&observation);
        if observation.parity == Parity::Unknown {
            // Golden inputs are no live requests: counters count from the look after the check.
            observation.candidate.scrapes.clear();
        }
        observation.shadow_percent = self.shadow_in_force(&observation);
        observation.weight = self.proxy.as_ref().map(|proxy| proxy.handle.weight().get());
        observation.errors = errors;
        let both_ready = observation.baseline.ready_epoch().is_some() && observation.candidate.ready_epoch().is_some();
        // The look at which both are ready again still resumes: it is the one that takes the new lives for the old ones.
        observation.resuming = self.setup.resuming;
        self.setup.resuming &= !both_ready;
        Ok(observation)
    }

    /// Carries the effects out in order, and says how long to wait until the next look.
    pub async fn carry_out(&mut self, effects: &[Effect], mut start: impl FnMut(&str) -> Worker) -> Result<Duration> {
        let mut wait = Duration::from_secs(1);
        for effect in effects {
            match effect {
                Effect::SetWeight { candidate } => self.set_weight(*candidate)?,
                Effect::SetShadow { percent } => self.set_shadow(*percent).await,
                Effect::StartCompression { key } => self.worker = Some(start(key)),
                Effect::EnsureServing(Wanted::Baseline) => {
                    if self.baseline.server.is_none() {
                        let (model, digest) = self.setup.source.clone();
                        let server = Server::start(&self.setup.template, Role::Baseline, &model, digest.short(), None)?;
                        self.baseline = Watched::running(server, digest);
                    }
                }
                Effect::EnsureServing(Wanted::Candidate(digest)) => self.ensure_candidate(digest).await?,
                Effect::ScaleDown { role } => self.scale_down(*role).await,
                Effect::Emit(event) => {
                    let mark = if event.warning { "!" } else { "·" };
                    self.setup.terminal.event(
                        event.reason,
                        &format!("  {mark} {:<24} {}", event.reason, event.message),
                        json!({ "message": event.message, "warning": event.warning }),
                    );
                }
                Effect::Requeue { after } => wait = *after,
            }
        }
        Ok(wait)
    }

    /// Stops the proxy, then the servers, each with its drain.
    pub async fn stop(mut self) {
        if let Some(worker) = &mut self.worker {
            worker.stop();
        }
        if let Some(proxy) = self.proxy.take() {
            // The receiver is gone only when the proxy has ended already.
            let _ = proxy.stop.send(());
            let _ = proxy.task.await;
        }
        for server in [self.candidate.server.take(), self.baseline.server.take()].into_iter().flatten() {
            server.stop().await;
        }
    }

    pub fn watched(&self, role: Role) -> &Watched {
        match role {
            Role::Baseline => &self.baseline,
            Role::Candidate => &self.candidate,
        }
    }

    /// Every source that counts for this role. Labels may come back to either server, so both pages are read.
    fn scrapes(&self, role: Role, proxy: Option<&(Page, u64)>) -> Vec<Scrape> {
        let Some(version) = self.watched(role).digest.as_ref().map(Digest::short) else { return Vec::new() };
        let servers = [(Role::Baseline, "baseline"), (Role::Candidate, "candidate")];
        let pages = servers.iter().filter_map(|(of, name)| {
            let watched = self.watched(*of);
            let epoch = watched.server.as_ref()?.epoch();
            Some(watched.page.as_ref()?.scrape(name, epoch, role, version))
        });
        let proxy = proxy.map(|(page, epoch)| page.scrape("proxy", *epoch, role, version));
        pages.chain(proxy).collect()
    }

    /// The proxy follows the servers: it starts with the baseline, and learns their addresses after a restart.
    async fn follow_servers(&mut self, observation: &Observation) -> Result<()> {
        let baseline_ready = observation.baseline.ready_epoch().is_some();
        if let (None, true, Some(address)) = (&self.proxy, baseline_ready, self.baseline.address) {
            let proxy = Proxy::bind(ProxyConfig { listen: self.setup.listen, ..ProxyConfig::new(address) }).await?;
            let (handle, address) = (proxy.handle(), proxy.address());
            let (stop, stopped) = tokio::sync::oneshot::channel();
            let task = tokio::spawn(proxy.run(async { drop(stopped.await) }));
            self.setup.terminal.event(
                "ProxyListening",
                &format!("  · {:<24} clients call http://{address}", "ProxyListening"),
                json!({ "address": address.to_string() }),
            );
            self.proxy = Some(RunningProxy { handle, address, epoch: epoch_now(), stop, task });
        }
        if let Some(proxy) = &self.proxy {
            if let Some(address) = self.baseline.address {
                proxy.handle.set_baseline(address);
            }
            // A candidate that crashed keeps its last address: what is sent there fails, is counted, and falls back.
            if let Some(address) = self.candidate.address {
                proxy.handle.set_candidate(Some(address));
            }
        }
        Ok(())
    }

    fn set_weight(&mut self, candidate: u8) -> Result<()> {
        let weight = Percent::try_from(candidate)?;
        if let Some(proxy) = &self.proxy {
            proxy.handle.set_weight(weight);
        }
        Ok(())
    }

    async fn set_shadow(&mut self, percent: u8) {
        let (Some(baseline), Some(candidate)) = (self.baseline.address, self.candidate.address) else { return };
        let Some(epoch) = self.baseline.server.as_ref().map(Server::epoch) else { return };
        let order = json!({ "percent": percent, "target": format!("http://{candidate}") });
        let told = self
            .setup
            .client
            .put(format!("http://{baseline}/admin/shadow"))
            .timeout(CALL_TIMEOUT)
            .json(&order)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        // Asked for again at the next look until it is in force.
        self.shadow = told.is_ok().then_some((percent, candidate, epoch));
    }

    fn shadow_in_force(&self, observation: &Observation) -> Option<u8> {
        let epoch = observation.baseline.ready_epoch()?;
        match (self.shadow, self.candidate.address) {
            (Some((percent, target, told)), Some(candidate)) if target == candidate && told == epoch => Some(percent),
            // A sampler that was never told, or was restarted, copies nothing.
            _ => Some(0),
        }
    }

    async fn ensure_candidate(&mut self, digest: &Digest) -> Result<()> {
        if self.candidate.digest.as_ref() == Some(digest) && self.candidate.server.is_some() {
            return Ok(());
        }
        self.scale_down(Role::Candidate).await;
        let model = self.model_file(digest);
        if !model.exists() {
            bail!("the candidate {} is not among the artifacts: remove the state directory", digest.short());
        }
        let server = Server::start(&self.setup.template, Role::Candidate, &model, digest.short(), self.setup.fault)?;
        self.candidate = Watched::running(server, digest.clone());
        Ok(())
    }

    async fn scale_down(&mut self, role: Role) {
        let watched = match role {
            Role::Baseline => &mut self.baseline,
            Role::Candidate => &mut self.candidate,
        };
        if let Some(server) = watched.server.take() {
            server.stop().await;
        }
        watched.address = None;
        watched.digest = None;
        if role == Role::Candidate
            && let Some(proxy) = &self.proxy
        {
            proxy.handle.set_candidate(None);
        }
    }

    fn model_file(&self, digest: &Digest) -> PathBuf {
        self.setup.artifacts.join(format!("{digest}.onnx"))
    }

    /// Starts the check as soon as the candidate is ready, and gives its result.
    fn parity(&mut self, observation: &Observation) -> Parity {
        let (Some(epoch), Some(address)) = (observation.candidate.ready_epoch(), self.candidate.address) else {
            return Parity::Unknown;
        };
        let Some(digest) = &self.candidate.digest else { return Parity::Unknown };
        let model = self.model_file(digest);
        self.setup.golden.check(&self.setup.client, (digest, epoch), &model, address)
    }
}

impl Watched {
    fn running(server: Server, digest: Digest) -> Self {
        Self { server: Some(server), digest: Some(digest), ..Self::default() }
    }

    /// State and, when it answers, its page; or why the page could not be read.
    async fn look(
        &mut self,
        template: &Template,
        client: &reqwest::Client,
        role: Role,
    ) -> (ServerState, Option<String>) {
        let Some(server) = &mut self.server else { return (ServerState::Absent, None) };
        let address = match server.look(template) {
            Seen::Starting => return (ServerState::Starting, None),
            Seen::Crashed(reason) => {
                self.page = None;
                return (ServerState::Crashed { reason }, None);
            }
            Seen::Listening(address) => address,
        };
        self.address = Some(address);
        let epoch = server.epoch();
        let (ready, page) = tokio::join!(is_ready(client, address), observe::scrape(client, address));
        let error = match page {
            Ok(page) => {
                self.page = Some(page);
                None
            }
            Err(error) => {
                self.page = None;
                Some(format!("the {role} server: {error:#}"))
            }
        };
        let state = match ready {
            Ok(()) => {
                self.ready_epoch = Some(epoch);
                ServerState::Ready { epoch }
            }
            // A page is served from the start, readiness only after the warm-up: a server of this life that was ready
            // once and is not now is a failure, not a start.
            Err(_) if self.ready_epoch != Some(epoch) => ServerState::Starting,
            Err(reason) => ServerState::Unready { reason },
        };
        (state, error)
    }
}

async fn is_ready(client: &reqwest::Client, address: SocketAddr) -> Result<(), String> {
    let answer = client.get(format!("http://{address}/v2/health/ready")).timeout(CALL_TIMEOUT).send().await;
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("the readiness check answered {}", answer.status())),
        Err(error) => Err(format!("the readiness check failed: {error}")),
    }
}
