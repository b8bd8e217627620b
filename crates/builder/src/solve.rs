//! Stage by stage, step by step: what is needed is built, in order, and said.

use std::collections::BTreeMap;
use std::sync::Arc;

use spec::api::Platform;

use crate::config::{Arguments, apply};
use crate::error::{Error, Result};
use crate::ignore::Ignore;
use crate::instructions::{Copy, Dockerfile, Instruction, Run, Step};
use crate::key::Hasher;
use crate::op::{Done, blocking, cached, copy, fresh_id, image, made, run, workdir};
use crate::output::Output;
use crate::run::cancel::Cancel;
use crate::state::{PROXIES, State};
use crate::{Host, Request, cache, parse, stages};

/// A build under way.
pub(crate) struct Solver {
    pub(crate) host: Host,
    pub(crate) request: Arc<Request>,
    pub(crate) file: Dockerfile,
    pub(crate) ignore: Ignore,
    pub(crate) platform: Platform,
    pub(crate) globals: Vec<(String, Option<String>)>,
    pub(crate) output: Output,
    pub(crate) cancel: Arc<Cancel>,
    /// Finished stages.
    built: BTreeMap<usize, State>,
    /// Images that were used already, by name and platform.
    bases: BTreeMap<(String, String), State>,
    /// For `Step 2/5`.
    done: usize,
    total: usize,
}

impl Solver {
    /// Prepares a build; nothing is done yet.
    pub(crate) fn new(
        host: Host,
        request: Arc<Request>,
        file: Dockerfile,
        ignore: Ignore,
        output: Output,
        cancel: Arc<Cancel>,
    ) -> Result<Self> {
        let platform = platform(&request.platform)?.unwrap_or_else(Platform::host);
        let globals = stages::globals(&file, &request, &platform)?;
        Ok(Self {
            host,
            request,
            file,
            ignore,
            platform,
            globals,
            output,
            cancel,
            built: BTreeMap::new(),
            bases: BTreeMap::new(),
            done: 0,
            total: 0,
        })
    }

    /// Builds the target and returns its last state.
    pub(crate) async fn solve(&mut self) -> Result<State> {
        let target = stages::target(&self.file, &self.request.target)?;
        let needed = stages::needed(&self.file, &self.globals, target)?;
        self.label_target(target);
        self.total = self.file.globals.len()
            + needed.iter().map(|index| 1 + self.file.stages[*index].steps.len()).sum::<usize>();
        for step in self.file.globals.clone() {
            self.announce(&step.text).await?;
        }
        for index in needed {
            let state = self.stage(index).await?;
            self.built.insert(index, state);
        }
        self.built.remove(&target).ok_or_else(|| Error::NoTarget(self.request.target.clone()))
    }

    /// `--label` is a LABEL at the end.
    fn label_target(&mut self, target: usize) {
        if self.request.labels.is_empty() {
            return;
        }
        // Quoted for the lexer, which takes nothing in single quotes for special but the quote itself.
        let quote = |text: &String| format!("'{}'", text.replace('\'', "'\"'\"'"));
        let pairs: Vec<(String, String)> =
            self.request.labels.iter().map(|(name, value)| (quote(name), quote(value))).collect();
        let text: Vec<String> =
            self.request.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let stage = &mut self.file.stages[target];
        let step = Step {
            line: stage.line,
            text: format!("LABEL {}", text.join(" ")),
            instruction: Instruction::Label(pairs),
        };
        stage.steps.push(step);
    }

    /// `--build-arg`s that no ARG of the file declares.
    pub(crate) fn unused_arguments(&self) -> Vec<String> {
        let steps = self.file.globals.iter().chain(self.file.stages.iter().flat_map(|stage| &stage.steps));
        let mut declared: Vec<&str> = PROXIES.to_vec();
        for step in steps {
            if let Instruction::Arg(arguments) = &step.instruction {
                declared.extend(arguments.iter().map(|(name, _)| name.as_str()));
            }
        }
        let given = self.request.args.keys().filter(|name| !name.starts_with("BUILDKIT_"));
        given.filter(|name| !declared.contains(&name.as_str())).cloned().collect()
    }

    async fn announce(&mut self, text: &str) -> Result<()> {
        self.done += 1;
        self.output.line(format!("Step {}/{} : {text}", self.done, self.total)).await
    }

    async fn stage(&mut self, index: usize) -> Result<State> {
        let stage = self.file.stages[index].clone();
        self.announce(&stage.text).await?;
        let mut state = self.base(index, &stage).await?;
        self.output.line(format!(" ---> {}", state.digest().short())).await?;

        let triggers = std::mem::take(&mut state.image.config.on_build);
        if !triggers.is_empty() {
            let plural = if triggers.len() == 1 { "" } else { "s" };
            self.output.line(format!("# Executing {} build trigger{plural}", triggers.len())).await?;
        }
        for text in triggers {
            let node = parse::parse_trigger(&text, &[], stage.line)?;
            let instruction = crate::instructions::read::instruction(&node, '\\')?;
            let step = Step { line: stage.line, text, instruction };
            state = self.step(index, state, &step).await?;
        }
        for step in &stage.steps {
            self.announce(&step.text).await?;
            state = self.step(index, state, step).await?;
        }
        Ok(state)
    }

    /// Where a stage starts.
    async fn base(&mut self, index: usize, stage: &crate::instructions::Stage) -> Result<State> {
        let expand = |text: &str| stages::expand(text, self.file.escape, &self.globals, stage.line);
        let name = expand(&stage.from.image)?;
        if name.is_empty() {
            let detail = format!("base name ({}) should not be blank", stage.from.image);
            return Err(Error::at(stage.line, detail));
        }
        let platform = platform(&expand(&stage.from.platform)?)?.unwrap_or_else(|| self.platform.clone());
        if name == "scratch" {
            return Ok(State::scratch(&platform));
        }
        if let Some(state) = self.file.stage_before(index, &name).and_then(|i| self.built.get(&i)) {
            let mut state = state.clone();
            state.own_cmd = false;
            return Ok(state);
        }
        self.image(&name, &platform).await
    }

    async fn image(&mut self, name: &str, platform: &Platform) -> Result<State> {
        let key = (name.to_owned(), platform.to_string());
        if let Some(state) = self.bases.get(&key) {
            return Ok(state.clone());
        }
        let state = image::base(&self.host, name, platform, &self.request, &self.output).await?;
        self.bases.insert(key, state.clone());
        Ok(state)
    }

    /// One step: the state after it.
    async fn step(&mut self, index: usize, mut state: State, step: &Step) -> Result<State> {
        let escape = self.file.escape;
        let before = state.clone();
        let arguments = Arguments { request: &self.request, globals: &self.globals, escape };
        let (done, text) = match &step.instruction {
            Instruction::Run(instruction) => self.run(&before, instruction, step.line).await?,
            Instruction::Copy(copy) => self.copy(index, &before, copy, false, step.line).await?,
            Instruction::Add(copy) => self.copy(index, &before, copy, true, step.line).await?,
            Instruction::Workdir(path) => {
                let path = workdir::resolve(&before, &before.expand(path, escape, step.line)?);
                state.image.config.working_dir.clone_from(&path);
                let (host, no_cache) = (self.host.clone(), self.request.no_cache);
                let text = format!("WORKDIR {path}");
                (blocking(move || workdir::workdir(&host, &before, &path, no_cache)).await?, text)
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
            | Instruction::User(_)
            | Instruction::Volume(_) => {
                let text = apply(&mut state, step, &arguments)?;
                (self.configuration(&before, &text).await?, text)
            }
        };
        if done.cached {
            self.output.line(" ---> Using cache").await?;
        }
        let empty = done.record.layer.is_none();
        if let Some(layer) = done.record.layer {
            state.push_layer(layer.chain, layer.blob, layer.diff_id);
        }
        state.record(text, &done.record.created, empty);
        self.output.line(format!(" ---> {}", state.digest().short())).await?;
        Ok(state)
    }

    /// A step without files: only its time is remembered.
    async fn configuration(&self, before: &State, text: &str) -> Result<Done> {
        let mut hasher = Hasher::default();
        hasher.field(b"configuration").field(before.digest().as_bytes()).field(text.as_bytes());
        let key = hasher.finish();
        let (host, no_cache) = (self.host.clone(), self.request.no_cache);
        blocking(move || {
            if let Some(record) = cached(&host, &key, no_cache)? {
                return Ok(Done { record, cached: true });
            }
            let record = made(None);
            cache::Cache::new(&host.cache).put(&key, &record)?;
            Ok(Done { record, cached: false })
        })
        .await
    }

    async fn run(&mut self, before: &State, instruction: &Run, line: u32) -> Result<(Done, String)> {
        let id = fresh_id();
        let (host, request, escape, no_cache) =
            (self.host.clone(), self.request.clone(), self.file.escape, self.request.no_cache);
        let (before, instruction) = (before.clone(), instruction.clone());
        let short = id.short().to_owned();
        let (prepared, found) = blocking(move || {
            let prepared = run::prepare(&host, &request, &before, &instruction, id, escape, line)?;
            let found = run::lookup(&host, &prepared, no_cache)?;
            Ok((prepared, found))
        })
        .await?;
        let text = prepared.text.clone();
        if let Some(done) = found {
            return Ok((done, text));
        }
        self.output.line(format!(" ---> Running in {short}")).await?;
        let (host, output, cancel) = (self.host.clone(), self.output.clone(), self.cancel.clone());
        let done = blocking(move || run::run(&host, &prepared, &output, &cancel)).await?;
        self.output.line(format!(" ---> Removed intermediate container {short}")).await?;
        Ok((done, text))
    }

    async fn copy(
        &mut self,
        index: usize,
        before: &State,
        instruction: &Copy,
        add: bool,
        line: u32,
    ) -> Result<(Done, String)> {
        let prepared = copy::prepare(before, instruction, add, self.file.escape, line)?;
        let from = match &instruction.from {
            None => copy::From::Context(self.request.context.clone(), self.ignore.clone()),
            Some(name) => copy::From::Root(Box::new(self.source(index, name, line).await?)),
        };
        let (host, before, no_cache) = (self.host.clone(), before.clone(), self.request.no_cache);
        let text = prepared.text.clone();
        let done = blocking(move || copy::copy(&host, &before, &prepared, &from, no_cache)).await?;
        Ok((done, text))
    }

    /// What `--from` names: an earlier stage, else an image.
    async fn source(&mut self, index: usize, name: &str, line: u32) -> Result<State> {
        if let Some(earlier) = self.file.stage_before(index, name) {
            return self.built.get(&earlier).cloned().ok_or_else(|| {
                Error::at(
                    line,
                    format!("an ONBUILD trigger needs stage {name:?}, which this build does not reach"),
                )
            });
        }
        if name.parse::<usize>().is_ok() {
            let detail =
                format!("invalid from flag value {name}: refers to a stage that is not before this one");
            return Err(Error::at(line, detail));
        }
        let platform = self.platform.clone();
        self.image(name, &platform).await
    }
}

/// A platform by its text; `None` for none.
fn platform(text: &str) -> Result<Option<Platform>> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid =
        || Error::Request(format!("{text:?}: unknown operating system or architecture: invalid argument"));
    Platform::parse(text).map(Some).ok_or_else(invalid)
}
