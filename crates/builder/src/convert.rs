//! A Dockerfile becomes a graph: stage by stage, in the Dockerfile's order, nothing of it done yet.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use spec::Digest;
use spec::api::{BuildWarning, Platform};
use spec::git::Address;
use tokio::task::JoinSet;

use crate::config::{Arguments, apply};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::git::Repository;
use crate::graph::{self, Bits, CacheMount, Edge, Exec, From, Mkdir, MountOp, Op, Place, Vertex};
use crate::instructions::run::{self, MountKind, Security};
use crate::instructions::{Copy, Dockerfile, Instruction, Run, Stage, Step};
use crate::op::{copy, image, workdir};
use crate::output::Output;
use crate::remote::{Remote, file_name, is_remote};
use crate::state::{Done, PROXIES, State, Undefined};
use crate::{Host, Request, lint, op, parse, stages};

/// What a RUN's container is called inside, as BuildKit calls it: the same for each, so that what it writes is too.
const HOSTNAME: &str = "buildkitsandbox";

/// A line of the classic stream, or what it waits for.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    /// To be said as it is.
    Say(String),
    /// A stage begins on this root.
    Base { root: Option<Edge>, config: Digest },
    /// A step ends.
    Step { done: Done, root: Option<Edge>, config: Digest },
}

/// A graph under construction, for one platform.
pub(crate) struct Convert<'c> {
    pub(crate) host: &'c Host,
    pub(crate) request: &'c Arc<Request>,
    pub(crate) file: &'c Dockerfile,
    /// By name; the build's own has none.
    pub(crate) contexts: &'c BTreeMap<String, Arc<Context>>,
    pub(crate) platform: Platform,
    pub(crate) output: &'c Output,
    pub(crate) globals: Vec<(String, Option<String>)>,
    /// More than one platform is built.
    pub(crate) several: bool,
    /// For the classic stream.
    pub(crate) lines: Vec<Line>,
    /// Where a vertex comes from in the Dockerfile.
    pub(crate) places: HashMap<Digest, u32>,
    /// Variables that were not set.
    undefined: Arc<Mutex<Vec<Undefined>>>,
    /// Base images that are for another platform than was asked for.
    mismatched: Vec<BuildWarning>,
    built: BTreeMap<usize, State>,
    bases: BTreeMap<(String, String), State>,
    done: usize,
    total: usize,
}

impl<'c> Convert<'c> {
    pub(crate) fn new(
        host: &'c Host,
        request: &'c Arc<Request>,
        file: &'c Dockerfile,
        contexts: &'c BTreeMap<String, Arc<Context>>,
        platform: Platform,
        output: &'c Output,
        several: bool,
    ) -> Result<Self> {
        let globals = stages::globals(file, request, &platform)?;
        Ok(Self {
            host,
            request,
            file,
            contexts,
            platform,
            output,
            globals,
            several,
            lines: Vec::new(),
            places: HashMap::new(),
            undefined: Arc::default(),
            mismatched: Vec::new(),
            built: BTreeMap::new(),
            bases: BTreeMap::new(),
            done: 0,
            total: 0,
        })
    }

    /// Converts what the target needs; its last state.
    pub(crate) async fn convert(&mut self) -> Result<State> {
        let target = stages::target(self.file, &self.request.target)?;
        let needed = stages::needed(self.file, &self.globals, target)?;
        self.total = self.file.globals.len()
            + needed.iter().map(|index| 1 + self.file.stages[*index].steps.len()).sum::<usize>();
        let labels = labels(self.request, &self.file.stages[target]);
        self.total += usize::from(labels.is_some());
        for step in &self.file.globals {
            self.announce(&step.text);
        }
        self.prefetch(&needed).await?;
        for index in needed {
            let extra = labels.as_ref().filter(|_| index == target);
            let state = self.stage(index, extra).await?;
            self.built.insert(index, state);
        }
        self.built.remove(&target).ok_or_else(|| Error::NoTarget(self.request.target.clone()))
    }

    /// What the linter has to say of the states: variables that nothing sets, base images for other platforms.
    pub(crate) fn findings(&self) -> Vec<BuildWarning> {
        let undefined = self.undefined.lock().unwrap_or_else(PoisonError::into_inner);
        let finding = |Undefined { line, name, near }: &Undefined| {
            let hint = near.as_ref().map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
            lint::finding("UndefinedVar", format!("Usage of undefined variable '${name}'{hint}"), *line)
        };
        undefined.iter().map(finding).chain(self.mismatched.iter().cloned()).collect()
    }

    fn announce(&mut self, text: &str) {
        self.done += 1;
        let line = format!("Step {}/{} : {text}\n", self.done, self.total);
        self.lines.push(Line::Say(line));
    }

    /// Brings in the base images of all stages at once.
    async fn prefetch(&mut self, needed: &[usize]) -> Result<()> {
        let mut tasks = JoinSet::new();
        for &index in needed {
            let stage = &self.file.stages[index];
            let (name, platform) = self.from(stage)?;
            let known = name == "scratch"
                || self.context(&name).is_some()
                || self.file.stage_before(index, &name).is_some()
                || self.bases.contains_key(&(name.clone(), platform.to_string()));
            if known || name.is_empty() {
                continue;
            }
            self.bases.insert((name.clone(), platform.to_string()), State::default());
            let (host, request, output) = (self.host.clone(), self.request.clone(), self.output.clone());
            tasks.spawn(async move {
                let state = image::base(&host, &name, &platform, &request, &output).await;
                ((name, platform.to_string()), index, state)
            });
        }
        while let Some(ended) = tasks.join_next().await {
            let (key, index, state) = ended.map_err(|_| Error::Cancelled)?;
            self.bases.insert(key, state.map_err(|error| self.absent(index, error))?);
        }
        Ok(())
    }

    /// A FROM whose image cannot be had: perhaps a stage was meant that comes later.
    fn absent(&self, index: usize, error: Error) -> Error {
        let error = match error {
            Error::Image { name, error } => {
                let later = self.file.stages[index..].iter().find(|s| s.name.as_deref() == Some(&name));
                let name = match later {
                    Some(stage) => {
                        format!("{name} (not the stage of that name: that is on line {})", stage.line)
                    }
                    None => name,
                };
                Error::Image { name, error }
            }
            other => other,
        };
        error.in_dockerfile(self.file.stages[index].line)
    }

    /// What a FROM names, and for which platform.
    fn from(&self, stage: &Stage) -> Result<(String, Platform)> {
        let expand = |text: &str| stages::expand(text, self.file.escape, &self.globals, stage.line);
        let name = expand(&stage.from.image)?;
        let own = platform(&expand(&stage.from.platform)?)?;
        Ok((name, own.unwrap_or_else(|| self.platform.clone())))
    }

    async fn stage(&mut self, index: usize, labels: Option<&Step>) -> Result<State> {
        let stage = &self.file.stages[index];
        let mut state = self.base(index, stage).await?;
        state.undefined = self.undefined.clone();
        let triggers = std::mem::take(&mut state.image.config.on_build);
        let mut steps = Vec::new();
        for text in &triggers {
            let step = triggered(text, stage.line)?;
            for name in stages::sources(&step) {
                self.reach(index, &name).await?;
            }
            steps.push((step, false));
        }
        self.announce(&stage.text);
        self.lines.push(Line::Base { root: state.root.clone(), config: state.digest() });
        if !triggers.is_empty() {
            let plural = if triggers.len() == 1 { "" } else { "s" };
            self.lines.push(Line::Say(format!("# Executing {} build trigger{plural}\n", triggers.len())));
        }
        steps.extend(stage.steps.iter().chain(labels).map(|step| (step.clone(), true)));
        let makes = |step: &Step| {
            matches!(
                step.instruction,
                Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_)
            )
        };
        let total = 1 + steps.iter().filter(|(step, _)| makes(step)).count();
        let mut number = 1;
        for (step, announced) in &steps {
            if *announced {
                self.announce(&step.text);
            }
            number += usize::from(makes(step));
            let prefix = self.prefix(index, number, total);
            state = self.step(index, state, step, &prefix).await?;
        }
        Ok(state)
    }

    /// Converts an earlier stage that only a trigger of a base image names, with what it needs itself.
    async fn reach(&mut self, index: usize, name: &str) -> Result<()> {
        let Some(other) = self.file.stage_before(index, name) else { return Ok(()) };
        let mut missing = stages::needed(self.file, &self.globals, other)?;
        missing.retain(|stage| !self.built.contains_key(stage));
        self.total += missing.iter().map(|stage| 1 + self.file.stages[*stage].steps.len()).sum::<usize>();
        self.prefetch(&missing).await?;
        for stage in missing {
            // It calls this function in turn.
            let state = Box::pin(self.stage(stage, None)).await?;
            self.built.insert(stage, state);
        }
        Ok(())
    }

    /// `[linux/amd64 stage 2/5]`.
    fn prefix(&self, index: usize, number: usize, total: usize) -> String {
        let mut words = Vec::new();
        if self.several {
            words.push(self.platform.to_string());
        }
        if let Some(name) = &self.file.stages[index].name {
            words.push(name.clone());
        } else if self.file.stages.len() > 1 {
            words.push(format!("stage-{index}"));
        }
        words.push(format!("{number}/{total}"));
        format!("[{}]", words.join(" "))
    }

    /// Where a stage starts.
    async fn base(&mut self, index: usize, stage: &Stage) -> Result<State> {
        let (name, platform) = self.from(stage)?;
        if name.is_empty() {
            let detail = format!("base name ({}) should not be blank", stage.from.image);
            return Err(Error::at(stage.line, detail));
        }
        if let Some(context) = self.context(&name).cloned() {
            return self.context_root(&name, context, &platform).await;
        }
        if name == "scratch" {
            return Ok(State::scratch(&platform));
        }
        if let Some(state) = self.file.stage_before(index, &name).and_then(|i| self.built.get(&i)) {
            let mut state = state.clone();
            state.own_cmd = false;
            return Ok(state);
        }
        let state = self.image(&name, &platform).await.map_err(|error| self.absent(index, error))?;
        let actual = state.platform();
        if (&actual.os, &actual.architecture) != (&platform.os, &platform.architecture) {
            let detail = format!(
                "Base image {name} was pulled with platform \"{actual}\", expected \"{platform}\" for current build"
            );
            self.mismatched.push(lint::finding("InvalidBaseImagePlatform", detail, stage.line));
        }
        Ok(state)
    }

    /// A context of the user's in place of an image or a stage.
    fn context(&self, name: &str) -> Option<&NamedContext> {
        let contexts = &self.request.contexts;
        contexts.get(name).or_else(|| contexts.get(name.strip_suffix(":latest")?))
    }

    async fn context_root(
        &mut self,
        name: &str,
        context: NamedContext,
        platform: &Platform,
    ) -> Result<State> {
        match context {
            NamedContext::Image(reference) => self.image(&reference, platform).await,
            NamedContext::Files(_) => {
                let mut state = State::scratch(platform);
                let copy = graph::Copy {
                    base: None,
                    from: From::Context(self.opened(name)?),
                    what: copy::Prepared::whole(),
                    loose: false,
                };
                let vertex = Vertex::new(format!("[context {name}] load"), Op::Copy(Box::new(copy)), false);
                state.root = Some(vertex.clone());
                state.base = state.root.clone();
                let before = (None, state.digest());
                let text = format!("FROM {name}");
                state.steps.push(Done { text, edge: Some(vertex), before });
                Ok(state)
            }
        }
    }

    fn opened(&self, name: &str) -> Result<Arc<Context>> {
        self.contexts
            .get(name)
            .or_else(|| self.contexts.get(name.strip_suffix(":latest").unwrap_or(name)))
            .cloned()
            .ok_or_else(|| Error::Request(format!("the build context {name:?} was not given")))
    }

    async fn image(&mut self, name: &str, platform: &Platform) -> Result<State> {
        let key = (name.to_owned(), platform.to_string());
        if let Some(state) = self.bases.get(&key) {
            return Ok(state.clone());
        }
        let state = image::base(self.host, name, platform, self.request, self.output).await?;
        self.bases.insert(key, state.clone());
        Ok(state)
    }

    /// One step: the state after it.
    async fn step(&mut self, index: usize, mut state: State, step: &Step, prefix: &str) -> Result<State> {
        let escape = self.file.escape;
        let before = state.clone();
        let vertex_name = format!("{prefix} {}", step.text);
        let (edge, text) = match &step.instruction {
            Instruction::Run(instruction) => {
                let (edge, text) = self.run(index, &before, instruction, step.line, &vertex_name).await?;
                (Some(edge), text)
            }
            Instruction::Copy(copy) => {
                let (edge, text) = self.copy(index, &before, copy, false, step.line, &vertex_name).await?;
                (Some(edge), text)
            }
            Instruction::Add(copy) => {
                let (edge, text) = self.copy(index, &before, copy, true, step.line, &vertex_name).await?;
                (Some(edge), text)
            }
            Instruction::Workdir(path) => {
                let path = workdir::resolve(&before, &before.expand(path, escape, step.line)?);
                state.image.config.working_dir.clone_from(&path);
                let text = format!("WORKDIR {path}");
                let op = Op::Mkdir(Mkdir { base: before.root.clone(), path });
                (Some(Vertex::new(vertex_name, op, self.no_cache(index))), text)
            }
            Instruction::Arg(_)
            | Instruction::Cmd(_)
            | Instruction::Entrypoint(_)
            | Instruction::Env(_)
            | Instruction::Expose(_)
            | Instruction::Healthcheck(_)
            | Instruction::Label(_)
            | Instruction::Maintainer(_)
            | Instruction::Onbuild(_)
            | Instruction::Shell(_)
            | Instruction::StopSignal(_)
            | Instruction::Unset(..)
            | Instruction::User(_)
            | Instruction::Volume(_) => {
                let arguments = Arguments { request: self.request, globals: &self.globals, escape };
                (None, apply(&mut state, step, &arguments)?)
            }
        };
        let done = Done { text, edge, before: (before.root.clone(), before.digest()) };
        if let Some(edge) = &done.edge {
            self.places.insert(edge.digest, step.line);
            state.root = Some(edge.clone());
        }
        state.steps.push(done.clone());
        self.lines.push(Line::Step { done, root: state.root.clone(), config: state.digest() });
        Ok(state)
    }

    fn no_cache(&self, index: usize) -> bool {
        let stage = &self.file.stages[index];
        let named = |filter: &String| {
            stage.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(filter))
                || filter.parse() == Ok(index)
        };
        self.request.no_cache || self.request.no_cache_filter.iter().any(named)
    }

    async fn run(
        &mut self,
        index: usize,
        before: &State,
        instruction: &Run,
        line: u32,
        name: &str,
    ) -> Result<(Edge, String)> {
        let program = instruction.program(&before.image.config.shell, self.file.escape);
        let arguments = before.effective_arguments();
        let mut env = before.image.config.env.clone();
        if before.env("PATH").is_none() {
            env.push(format!("PATH={}", spec::defaults::PATH));
        }
        env.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
        let has = |name: &str| env.iter().any(|e| e.split_once('=').is_some_and(|(n, _)| n == name));
        // Not in the key, nor in history, unless an ARG declares them: a build behind a proxy shares its cache.
        let proxies = PROXIES
            .iter()
            .filter(|name| !has(name))
            .filter_map(|name| Some(format!("{name}={}", self.request.args.get(*name)?.as_ref()?)))
            .collect();
        self.entitled(instruction, line)?;
        let network = Place::of(instruction.network, &self.request.network);
        if let Place::Named(name) = &network
            && name.starts_with("container:")
        {
            let what = "the network of another container".into();
            return Err(Error::Unsupported { step: "RUN".into(), what });
        }
        let mut mounts = Vec::new();
        for (number, mount) in instruction.mounts.iter().enumerate() {
            mounts.push(self.mount(index, before, mount, number, line).await?);
        }
        let command = program.arguments.join(" ");
        let text = op::run::history(&arguments, &command);
        let hostname = self.request.args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned().flatten();
        let exec = Exec {
            base: before.root.clone(),
            program,
            env,
            proxies,
            working_dir: before.working_dir().to_owned(),
            user: before.image.config.user.clone(),
            network,
            security: instruction.security,
            mounts,
            extra_hosts: self.request.extra_hosts.clone(),
            hostname: hostname.unwrap_or_else(|| HOSTNAME.into()),
            platform: before.platform(),
            command,
        };
        Ok((Vertex::new(name, Op::Exec(Box::new(exec)), self.no_cache(index)), text))
    }

    /// What goes beyond a container must be allowed by who builds.
    fn entitled(&self, instruction: &Run, line: u32) -> Result<()> {
        let allowed = |what: &str| self.request.allow.iter().any(|allowed| allowed == what);
        let host = instruction.network == Some(run::Network::Host);
        if host && self.request.network != "host" && !allowed("network.host") {
            return Err(Error::at(
                line,
                "granting entitlement network.host is not allowed by the build: build with --allow network.host or --network=host",
            ));
        }
        if instruction.security == Security::Insecure && !allowed("security.insecure") {
            return Err(Error::at(
                line,
                "granting entitlement security.insecure is not allowed by the build: build with --allow security.insecure",
            ));
        }
        Ok(())
    }

    async fn mount(
        &mut self,
        index: usize,
        before: &State,
        mount: &run::Mount,
        number: usize,
        line: u32,
    ) -> Result<graph::Mount> {
        let expand = |text: &str| before.expand(text, self.file.escape, line);
        let (source, id) = (expand(&mount.source)?, expand(&mount.id)?);
        let default = match mount.kind {
            MountKind::Secret => format!("/run/secrets/{id}"),
            MountKind::Ssh => format!("/run/buildkit/ssh_agent.{number}"),
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => String::new(),
        };
        let named = if mount.target.is_empty() { default } else { expand(&mount.target)? };
        let target = copy::target(before.working_dir(), &named);
        if target == "/" {
            return Err(Error::at(line, "invalid mount target \"/\""));
        }
        let bits = |mode| Bits { mode: mount.mode.unwrap_or(mode), uid: mount.uid, gid: mount.gid };
        let what = match mount.kind {
            MountKind::Tmpfs => MountOp::Tmpfs { size: mount.size },
            MountKind::Cache => {
                let from = match mount.from.as_str() {
                    "" => None,
                    name => self.tree(index, name, &source, line).await?,
                };
                let namespace =
                    self.request.args.get("BUILDKIT_CACHE_MOUNT_NS").cloned().flatten().unwrap_or_default();
                let id = if id.is_empty() { target.clone() } else { id };
                MountOp::Cache(CacheMount {
                    id: if namespace.is_empty() { id } else { format!("{namespace}/{id}") },
                    from,
                    source: dot(source),
                    writable: mount.writable,
                    sharing: mount.sharing,
                    bits: bits(0o755),
                })
            }
            MountKind::Bind => MountOp::Bind {
                from: self.tree(index, &mount.from, &source, line).await?,
                source: dot(source),
                writable: mount.writable,
            },
            MountKind::Secret => MountOp::Secret {
                id,
                file: (mount.env.is_none() || !mount.target.is_empty()).then(|| bits(0o400)),
                env: mount.env.clone(),
                required: mount.required,
            },
            MountKind::Ssh => MountOp::Ssh {
                id: if id.is_empty() { "default".into() } else { id },
                bits: bits(0o600),
                required: mount.required,
            },
        };
        Ok(graph::Mount { target, what })
    }

    /// What a mount's `from` names, as something that can be mounted.
    async fn tree(&mut self, index: usize, name: &str, source: &str, line: u32) -> Result<Option<Edge>> {
        match self.source(index, name, line).await? {
            From::Edge(edge) => Ok(edge),
            from @ From::Context(_) => {
                // Only what is mounted, as it is now: nobody changes it while it is used.
                let source = dot(source.to_owned());
                let copy =
                    graph::Copy { base: None, from, what: copy::Prepared::loose(&source), loose: true };
                let name = format!("[internal] mount {source}");
                let vertex = Vertex::new(name, Op::Copy(Box::new(copy)), false);
                self.places.entry(vertex.digest).or_insert(line);
                Ok(Some(vertex))
            }
            From::Each(_) => unreachable!("a name is one place"),
        }
    }

    async fn copy(
        &mut self,
        index: usize,
        before: &State,
        instruction: &Copy,
        add: bool,
        line: u32,
        name: &str,
    ) -> Result<(Edge, String)> {
        let mut what = copy::prepare(before, instruction, add, self.file.escape, line)?;
        let text = what.text.clone();
        let remote = add && what.sources.iter().any(|word| is_remote(&word.path));
        if instruction.checksum.is_some() && (!remote || what.sources.len() != 1) {
            return Err(Error::at(
                line,
                "checksum must be specified for a single remote source (HTTP or git)",
            ));
        }
        let from = match &instruction.from {
            Some(name) => self.source(index, name, line).await?,
            None if remote => {
                let mut each = Vec::new();
                let into = what.is_into();
                for word in &mut what.sources {
                    let from = self.remote(word, instruction, before, into, line)?;
                    if let From::Edge(Some(edge)) = &from {
                        self.places.insert(edge.digest, line);
                    }
                    each.push(from);
                }
                From::Each(each)
            }
            None => From::Context(self.opened("")?),
        };
        let named_owner = what.chown.as_ref().is_some_and(|c| c.contains(|c: char| c.is_ascii_alphabetic()));
        // Names of owners are looked up below, so such a copy is not on its own.
        let linked = instruction.link && before.root.is_some() && !named_owner;
        let base = if linked { None } else { before.root.clone() };
        let copy = graph::Copy { base, from, what, loose: false };
        let vertex = Vertex::new(name, Op::Copy(Box::new(copy)), self.no_cache(index));
        if !linked {
            return Ok((vertex, text));
        }
        self.places.insert(vertex.digest, line);
        let merge = graph::Merge { lower: before.root.clone(), upper: vertex };
        Ok((Vertex::new(format!("{name} (link)"), Op::Merge(merge), false), text))
    }

    /// Where a word of an ADD is; the word becomes what it is called there.
    fn remote(
        &self,
        word: &mut copy::Word,
        instruction: &Copy,
        before: &State,
        into: bool,
        line: u32,
    ) -> Result<From> {
        let wrong = |error: spec::git::InvalidAddress| Error::at(line, error.to_string());
        let checksum = instruction.checksum.as_ref().map(|text| before.expand(text, self.file.escape, line));
        let checksum = checksum.transpose()?;
        let secret = |id: &str| {
            self.request.secrets.get(id).map(|value| String::from_utf8_lossy(value).trim().to_owned())
        };
        let url = match Remote::parse(&word.path).map_err(wrong)? {
            None => return Ok(From::Context(self.opened("")?)),
            Some(Remote::Git(address)) => {
                let address = checked(address, checksum, line)?;
                let label = std::mem::replace(&mut word.path, ".".into());
                let keep = instruction.keep_git_dir.or(address.keep_git_dir).unwrap_or(false);
                let op = Op::Git(Repository::new(address, keep, secret));
                return Ok(From::Edge(Some(Vertex::new(label, op, self.request.no_cache))));
            }
            Some(Remote::Http(url)) => url,
        };
        if instruction.keep_git_dir.is_some() {
            return Err(Error::at(line, "keep-git-dir is for git repositories"));
        }
        // Where the destination is the file itself, it has its name from there.
        let Some(name) = file_name(&url).or_else(|| (!into).then(|| "__unnamed__".into())) else {
            return Err(Error::at(line, format!("cannot determine filename from url: {url}")));
        };
        let checksum = match checksum {
            None => None,
            Some(text) => Some(text.parse::<Digest>().map_err(|_| {
                Error::at(
                    line,
                    format!("invalid checksum digest format: {text}: expected sha256:<64 hex digits>"),
                )
            })?),
        };
        let host = url.split_once("://").map_or("", |(_, rest)| rest).split('/').next().unwrap_or_default();
        let authorization = secret(&format!("HTTP_AUTH_HEADER_{host}"))
            .or_else(|| secret(&format!("HTTP_AUTH_TOKEN_{host}")).map(|token| format!("Bearer {token}")));
        word.path.clone_from(&name);
        let label = url.clone();
        let op = Op::Http(graph::Http { url, name, checksum, authorization });
        Ok(From::Edge(Some(Vertex::new(label, op, self.request.no_cache))))
    }

    /// What `--from` names: a context, an earlier stage, else an image; nothing is the build's own context.
    async fn source(&mut self, index: usize, name: &str, line: u32) -> Result<From> {
        if name.is_empty() {
            return Ok(From::Context(self.opened("")?));
        }
        match self.context(name).cloned() {
            Some(NamedContext::Files(_)) => return Ok(From::Context(self.opened(name)?)),
            Some(NamedContext::Image(reference)) => {
                let platform = self.platform.clone();
                return Ok(From::Edge(self.image(&reference, &platform).await?.root));
            }
            None => {}
        }
        if let Some(earlier) = self.file.stage_before(index, name) {
            let state =
                self.built.get(&earlier).expect("what a step or a trigger names was converted before");
            return Ok(From::Edge(state.root.clone()));
        }
        if name == "scratch" {
            return Ok(From::Edge(None));
        }
        let later = self.file.stages[index..].iter().any(|stage| stage.name.as_deref() == Some(name));
        if later {
            let own = self.file.stages[index].name.as_deref() == Some(name);
            let detail = if own {
                format!("circular dependency detected on stage: {name}")
            } else {
                format!("invalid from flag value {name}: the stage comes only after this one")
            };
            return Err(Error::at(line, detail));
        }
        if name.parse::<usize>().is_ok() {
            let detail =
                format!("invalid from flag value {name}: refers to a stage that is not before this one");
            return Err(Error::at(line, detail));
        }
        let platform = self.platform.clone();
        let state = self.image(name, &platform).await.map_err(|error| {
            let names: Vec<&str> =
                self.file.stages[..index].iter().filter_map(|stage| stage.name.as_deref()).collect();
            match crate::instructions::read::nearest(name, &names) {
                Some(near) => Error::at(line, format!("{} (did you mean the stage {near}?)", error.text())),
                None => error.in_dockerfile(line),
            }
        })?;
        Ok(From::Edge(state.root))
    }
}

/// What a name stands for instead of an image or a stage.
#[derive(Debug, Clone)]
pub enum NamedContext {
    /// A directory.
    Files(crate::Files),
    /// An image.
    Image(String),
}

/// A repository's address with what --checksum says; both must agree where both speak.
fn checked(mut address: Address, checksum: Option<String>, line: u32) -> Result<Address> {
    if let (Some(flag), Some(query)) = (&checksum, &address.checksum)
        && flag != query
    {
        return Err(Error::at(line, format!("checksum conflict: {flag:?} and {query:?}")));
    }
    address.checksum = checksum.or(address.checksum);
    if let Some(text) = &address.checksum
        && (!(7..=40).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        let detail = format!("invalid checksum {text:?}: expected 7 to 40 hex digits of a commit's id");
        return Err(Error::at(line, detail));
    }
    Ok(address)
}

/// An ONBUILD's instruction as a step.
fn triggered(text: &str, line: u32) -> Result<Step> {
    let node = parse::parse_trigger(text, line)?;
    let instruction = crate::instructions::read::instruction(&node, '\\')?;
    Ok(Step { line, text: node.text, instruction })
}

/// `--label` is a LABEL at the end.
fn labels(request: &Request, target: &Stage) -> Option<Step> {
    if request.labels.is_empty() {
        return None;
    }
    // Quoted for the lexer, which takes nothing in single quotes for special but the quote itself.
    let quote = |text: &String| format!("'{}'", text.replace('\'', "'\"'\"'"));
    let pairs: Vec<(String, String)> =
        request.labels.iter().map(|(name, value)| (quote(name), quote(value))).collect();
    let text: Vec<String> = request.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Some(Step {
        line: target.line,
        text: format!("LABEL {}", text.join(" ")),
        instruction: Instruction::Label(pairs),
    })
}

/// `--build-arg`s that no ARG of the file declares.
pub(crate) fn unused_arguments(file: &Dockerfile, request: &Request) -> Vec<String> {
    let steps = file.globals.iter().chain(file.stages.iter().flat_map(|stage| &stage.steps));
    let mut declared: Vec<&str> = PROXIES.to_vec();
    declared.push("SOURCE_DATE_EPOCH");
    for step in steps {
        if let Instruction::Arg(arguments) = &step.instruction {
            declared.extend(arguments.iter().map(|(name, _)| name.as_str()));
        }
    }
    let given = request.args.keys().filter(|name| !name.starts_with("BUILDKIT_"));
    given.filter(|name| !declared.contains(&name.as_str())).cloned().collect()
}

fn dot(source: String) -> String {
    if source.is_empty() { ".".into() } else { source }
}

/// A platform by its text; `None` for none.
pub(crate) fn platform(text: &str) -> Result<Option<Platform>> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid =
        || Error::Request(format!("{text:?}: unknown operating system or architecture: invalid argument"));
    Platform::parse(text).map(Some).ok_or_else(invalid)
}
