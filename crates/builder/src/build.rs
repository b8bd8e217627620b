//! A build from its request to its image: the Dockerfile is read, graphs are made and worked off, the result goes where
//! it is wanted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use spec::api::{BuildAnswer, BuildEvent, BuildWarning, Platform, Progress};
use spec::oci::image::Descriptor;
use spec::{Digest, Reference};
use tokio::sync::mpsc::Sender;

use crate::cache::Cache;
use crate::context::Context;
use crate::convert::Convert;
use crate::export::attest::Statement;
use crate::export::compress::Compress;
use crate::export::output::Built;
use crate::finish::Finished;
use crate::graph::{Op, Squash, Vertex};
use crate::ignore::Ignore;
use crate::instructions::Dockerfile;
use crate::instructions::read::nearest;
use crate::op::tree::Opened;
use crate::output::Output;
use crate::run::cancel::{Cancel, Guard};
use crate::solve::{Solver, Tree};
use crate::{
    Error, Host, Kind, NamedContext, Place, Request, Target, cache, call, classic, context, convert, export,
    finish, graph, lint, op, share,
};

/// Builds. Sends the classic builder's lines (`Step 1/3 : FROM x`, ` ---> Using cache`, `Successfully built …`,
/// `Successfully tagged …`) and the aux object with the id; returns the image's digest, if there is one. Dropped: what
/// runs is ended.
///
/// # Errors
/// As the variants say; no container, mount or writable layer of a failed step is left.
pub async fn build(
    host: &Host,
    request: Request,
    progress: Sender<Progress>,
) -> Result<Option<Digest>, Error> {
    let output = Output::new(progress, request.quiet, request.events);
    let tags = tags(&request.tags)?;
    let request = Arc::new(request);
    let cancel = Arc::new(Cancel::default());
    let guard = Guard::new(cancel.clone());

    let (wanted, surroundings) = (request.clone(), host.clone());
    let (lease, source, ignore) = op::blocking(move || {
        let lease = surroundings.store.lease("build")?;
        let (source, ignore) = context::read(&wanted)?;
        Ok((lease, source, ignore))
    })
    .await?;
    let build =
        Build { host, request: &request, output: &output, cancel: &cancel, source: &source, tags: &tags };
    match build.run(lease, ignore).await {
        Ok(digest) => {
            guard.disarm();
            Ok(digest)
        }
        Err(error) => {
            if let Some(line) = error.line() {
                build.show(line, &error).await?;
            }
            Err(error)
        }
    }
}

/// A build whose Dockerfile has been read.
struct Build<'b> {
    host: &'b Host,
    request: &'b Arc<Request>,
    output: &'b Output,
    cancel: &'b Arc<Cancel>,
    source: &'b [u8],
    tags: &'b [Reference],
}

impl Build<'_> {
    /// Shows where in the Dockerfile something failed.
    async fn show(&self, line: u32, error: &Error) -> Result<(), Error> {
        let wrong = if matches!(error, Error::Dockerfile { .. }) { error.text() } else { String::new() };
        let excerpt = lint::excerpt(self.source, &self.request.dockerfile, line, &wrong);
        self.output.event(BuildEvent { excerpt, ..Default::default() }).await
    }

    /// Builds, or answers what was called for.
    async fn run(&self, lease: store::Lease, ignore: Ignore) -> Result<Option<Digest>, Error> {
        let Self { host, request, output, cancel, source, tags } = *self;
        let (wanted, surroundings, text, hidden) =
            (request.clone(), host.clone(), source.to_vec(), ignore.clone());
        let (file, contexts) = op::blocking(move || {
            let file = Dockerfile::read_with(&text, &|name| context::include(&wanted, name))?;
            Ok((file, contexts(&surroundings, &wanted, hidden)?))
        })
        .await?;
        let check = lint::Check::of(&file, request)?;
        let name = if request.dockerfile.is_empty() { "Dockerfile" } else { &request.dockerfile };
        match request.call.as_str() {
            "" | "build" | "check" => {}
            "targets" => return self.answer(call::targets(&file)).await,
            "outline" => return self.answer(call::outline(&file, request)?).await,
            other => return Err(call::unknown(other)),
        }
        if request.call == "check" {
            let found = self.findings(&file, &contexts, &ignore, &check, name).await?;
            return self.answer(lint::answer(&found, source)).await;
        }
        let annotations = annotations(request)?;
        entitlements(&request.allow)?;
        one_image(&request.outputs)?;
        let parent = &request.limits.cgroup_parent;
        host.cgroups.check_parent(parent).map_err(|wrong| Error::Request(wrong.into()))?;
        let started = jiff::Timestamp::now().to_string();
        let unused = convert::unused_arguments(&file, request);
        let platforms = platforms(request)?;
        let mut plans = Vec::new();
        let mut undefined = Vec::new();
        for platform in &platforms {
            let several = platforms.len() > 1;
            let mut convert =
                Convert::new(host, request, &file, &contexts, platform.clone(), output, several)?;
            let state = convert.convert().await?;
            undefined.extend(convert.findings());
            plans.push((state, convert.lines, convert.places));
        }
        let mut found = lint::lint(&file, &ignore);
        found.extend(undefined);
        let found = lint::sort(found, &check, name);
        for warning in found.clone() {
            output.event(BuildEvent { warning: Some(warning), ..Default::default() }).await?;
        }
        if check.error && !found.is_empty() {
            let rules: Vec<&str> = found.iter().map(|one| one.rule_name.as_str()).collect();
            return Err(Error::Request(format!("lint violation found for rules: {}", rules.join(", "))));
        }
        let squashed: Vec<Option<graph::Edge>> = plans
            .iter()
            .map(|(state, ..)| {
                let top = state.root.clone().filter(|_| request.squash)?;
                Some(Vertex::new("squash", Op::Squash(Squash { base: state.base.clone(), top }), false))
            })
            .collect();
        let epoch = epoch(request)?;
        let imported = share::Imported::read(host, request).await;
        let solver = Arc::new(Solver::new(
            host.clone(),
            request.clone(),
            output.clone(),
            cancel.clone(),
            epoch,
            imported,
            lease,
        ));
        let targets: Vec<graph::Edge> = plans
            .iter()
            .zip(&squashed)
            .filter_map(|((state, ..), squashed)| squashed.clone().or_else(|| state.root.clone()))
            .collect();
        let ordered = solver.take(&targets);
        let lines: Vec<convert::Line> = plans.iter().flat_map(|(_, lines, _)| lines.clone()).collect();
        let print = async {
            let printed = classic::print(&solver, &lines).await;
            if printed.is_err() {
                let cancel = cancel.clone();
                // Nobody listens any more. Ending containers blocks.
                op::blocking(move || {
                    cancel.cancel();
                    Ok(())
                })
                .await?;
            }
            printed
        };
        let (solved, printed) = tokio::join!(solver.solve(ordered), print);
        let said = printed?;
        if let Err((vertex, error)) = solved {
            if let Some(vertex) = vertex {
                classic::failure(&solver, &lines[said..], &vertex).await?;
            }
            let place =
                vertex.and_then(|vertex| plans.iter().find_map(|(.., places)| places.get(&vertex).copied()));
            if let (Some(line), None) = (place, error.line()) {
                self.show(line, &error).await?;
            }
            return Err(error);
        }
        if !unused.is_empty() {
            output
                .summary(format!("[Warning] One or more build-args [{}] were not consumed", unused.join(" ")))
                .await?;
        }
        let mut images = Vec::new();
        for ((state, ..), squashed) in plans.iter().zip(&squashed) {
            let image = finish::finish(&solver, state, squashed.as_ref()).await?;
            let layers = solver.root(image.root.as_ref()).await.ok_or(Error::Cancelled)?;
            images.push((image, Tree::Layers(layers)));
        }
        let mut resolved = HashMap::new();
        for vertex in graph::order(&targets) {
            if matches!(vertex.op, Op::Http(_) | Op::Git(_))
                && let Some(solved) = solver.get(&vertex).await
            {
                resolved.insert(vertex.digest, solved.record.source);
            }
        }
        let places = plans.into_iter().flat_map(|(_, _, places)| places).collect();
        let id = spec::digest::hex(&sys::random::bytes::<16>());
        let facts = Wanted { id, started, annotations, resolved, places };
        let target = self.export(&solver, images, facts).await?;
        drop(solver);

        output
            .send(Progress { aux: Some(serde_json::json!({ "ID": target.digest })), ..Progress::default() })
            .await?;
        if request.quiet {
            output.send(Progress::stream(format!("{}\n", target.digest))).await?;
        }
        if request.outputs.is_empty() || request.outputs.iter().any(is_image) {
            output.summary(format!("Successfully built {}", target.digest.short())).await?;
            for tag in tags {
                output.summary(format!("Successfully tagged {}", tag.familiar())).await?;
            }
        }
        Ok(Some(target.digest))
    }

    /// Says what a call found out; there is no image then.
    async fn answer(&self, answer: BuildAnswer) -> Result<Option<Digest>, Error> {
        if self.request.events {
            let event = BuildEvent { answer: Some(answer), ..Default::default() };
            self.output.event(event).await?;
        } else {
            self.output.text(answer.text).await?;
        }
        Ok(None)
    }

    /// What the linter finds, without building: base images that are here tell which variables are set.
    async fn findings(
        &self,
        file: &Dockerfile,
        contexts: &BTreeMap<String, Arc<Context>>,
        ignore: &Ignore,
        check: &lint::Check,
        name: &str,
    ) -> Result<Vec<BuildWarning>, Error> {
        let mut found = lint::lint(file, ignore);
        let host = Platform::host();
        let mut convert = Convert::new(self.host, self.request, file, contexts, host, self.output, false)?;
        match convert.convert().await {
            Ok(_) => found.extend(convert.findings()),
            // A base image that cannot be had is no mistake of the Dockerfile's.
            Err(error) if error.kind() != spec::ErrorKind::InvalidParameter => {}
            // Said by a rule already, which tells more.
            Err(_) if found.iter().any(|one| one.rule_name == "InvalidDefaultArgInFrom") => {}
            Err(error) => return Err(error),
        }
        Ok(lint::sort(found, check, name))
    }

    /// Writes the image, and gives it and the cache to whom they are for.
    async fn export(
        &self,
        solver: &Arc<Solver>,
        images: Vec<(Finished, Tree)>,
        wanted: Wanted,
    ) -> Result<Descriptor, Error> {
        let (this, request, source) = (solver.clone(), self.request.clone(), self.source.to_vec());
        let mut names = self.tags.to_vec();
        for output in &request.outputs {
            for name in self::tags(&output.names)? {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let outputs = match request.outputs.is_empty() {
            true => vec![Target::image()],
            false => request.outputs.clone(),
        };
        let (kept, known) = (outputs.clone(), names.clone());
        let build = store::Build { id: wanted.id.clone(), started: wanted.started.clone() };
        let origin = store::Origin { build: Some(build), ..store::Origin::default() };
        let target = op::blocking(move || {
            // Each form that an output asks for; the image in the store has the first.
            let main = kept.iter().find(|output| is_image(output)).unwrap_or(&kept[0]).compress;
            let mut forms: Vec<(Compress, Descriptor, Vec<Vec<Statement>>)> = Vec::new();
            for form in std::iter::once(main).chain(kept.iter().map(|output| output.compress)) {
                if !forms.iter().any(|(made, ..)| *made == form) {
                    let (target, statements) =
                        finish_images(&this, &request, &source, &images, &known, &wanted, form)?;
                    forms.push((form, target, statements));
                }
            }
            let target = forms[0].1.clone();
            let store = &this.host.store;
            if kept.iter().any(is_image) {
                for name in &known {
                    store.tag_from(name, &target, &origin)?;
                }
                if known.is_empty() {
                    store.keep_dangling_from(&target, &origin)?;
                }
            }
            for (number, output) in kept.iter().enumerate() {
                let form = forms.iter().find(|(form, ..)| *form == output.compress);
                if let Some((_, target, statements)) = form {
                    let built = Built { images: &images, statements, target, names: &known };
                    export::output::send(&this, number, output, &built)?;
                }
            }
            Cache::new(&this.host.cache).trim()?;
            Ok(target)
        })
        .await?;
        if outputs.iter().any(|output| output.kind == (Kind::Image { push: true })) {
            if names.is_empty() {
                return Err(Error::Request("tag is needed when pushing to registry".into()));
            }
            for name in &names {
                self.push(name, &target).await?;
            }
        }
        self.share(solver, &target, outputs.len()).await?;
        self.metadata(&target, &names).await?;
        Ok(target)
    }

    async fn push(&self, name: &Reference, target: &Descriptor) -> Result<(), Error> {
        let auth = registry::client::credentials(&self.request.auths, name);
        let (host, progress) = (self.host, self.output.pull());
        Ok(host.registry.push(&host.store, name, target, None, auth, progress).await?)
    }

    /// Gives the cache to other machines; those of the client come after its outputs.
    async fn share(&self, solver: &Arc<Solver>, target: &Descriptor, outputs: usize) -> Result<(), Error> {
        let places = self.request.cache_to.clone();
        for (number, place) in places.into_iter().filter(|place| !matches!(place, Place::Inline)).enumerate()
        {
            let (this, wish, image) = (solver.clone(), place.clone(), target.clone());
            let cache = op::blocking(move || {
                let layers = layers(&this.host.store, &image);
                let cache = share::manifest(&this, &wish, &layers)?;
                if matches!(wish, Place::Local { .. }) {
                    export::output::send_layout(&this, outputs + number, &cache)?;
                }
                Ok(cache)
            })
            .await?;
            if let Place::Registry { reference, lenient, .. } = &place
                && let Err(error) = self.push(reference, &cache).await
            {
                match lenient {
                    true => tracing::warn!(error = error.text(), "a build cache was not exported"),
                    false => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// What `--metadata-file` gets.
    async fn metadata(&self, target: &Descriptor, names: &[Reference]) -> Result<(), Error> {
        let (store, image) = (self.host.store.clone(), target.clone());
        let config = op::blocking(move || {
            let platform = Platform::host();
            Ok(store.image(&image, &platform).ok().map(|image| image.manifest.config.digest))
        })
        .await?;
        let mut metadata = BTreeMap::from([
            ("containerimage.digest".to_owned(), serde_json::json!(target.digest)),
            ("containerimage.descriptor".to_owned(), serde_json::json!(target)),
        ]);
        if let Some(config) = config {
            metadata.insert("containerimage.config.digest".into(), serde_json::json!(config));
        }
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            metadata.insert("image.name".into(), names.join(",").into());
        }
        self.output.event(BuildEvent { metadata, ..Default::default() }).await
    }
}

/// What goes into the image beside its files.
struct Wanted {
    /// The build's id.
    id: String,
    started: String,
    annotations: Vec<export::Annotation>,
    /// What sources turned out to be, by vertex.
    resolved: HashMap<Digest, String>,
    /// The Dockerfile's line of each vertex.
    places: HashMap<Digest, u32>,
}

/// Writes manifests, statements and the cache that is embedded; the statements are by image.
fn finish_images(
    solver: &Arc<Solver>,
    request: &Request,
    source: &[u8],
    images: &[(Finished, Tree)],
    names: &[Reference],
    wanted: &Wanted,
    form: Compress,
) -> Result<(Descriptor, Vec<Vec<Statement>>), Error> {
    let mut finished: Vec<Finished> = images.iter().map(|(image, _)| image.clone()).collect();
    for image in &mut finished {
        form.apply(solver, image)?;
    }
    let inline = request.cache_to.iter().any(|place| matches!(place, Place::Inline))
        || request.args.get("BUILDKIT_INLINE_CACHE").and_then(Option::as_deref) == Some("1");
    if inline {
        for image in &mut finished {
            let layers = by_diff_id(&image.config.rootfs.diff_ids, &image.layers);
            image.config.cache = Some(share::embedded(solver, &layers));
        }
    }
    let ended = jiff::Timestamp::now().to_string();
    let mut statements = Vec::new();
    for (image, (_, tree)) in finished.iter().zip(images) {
        let mut about = Vec::new();
        if request.sbom {
            let opened = Opened::tree(&solver.host.store, tree)?;
            about.push(export::sbom::statement(&opened.root, &image.config)?);
        }
        if let Some(wish) = &request.provenance {
            let facts = export::provenance::Facts {
                request,
                wish,
                source,
                image,
                platform: &export::platform(image),
                resolved: &wanted.resolved,
                places: &wanted.places,
                invocation: &wanted.id,
                started: &wanted.started,
                finished: &ended,
            };
            about.push(facts.statement());
        }
        statements.push(about);
    }
    let target = export::write(&solver.host.store, &finished, &wanted.annotations, names, &statements)?;
    Ok((target, statements))
}

/// An image's layers by DiffID.
fn layers(store: &store::Store, target: &Descriptor) -> HashMap<Digest, Descriptor> {
    let image = store.image(target, &Platform::host());
    image.map(|image| by_diff_id(&image.config.rootfs.diff_ids, &image.manifest.layers)).unwrap_or_default()
}

fn by_diff_id(diff_ids: &[Digest], layers: &[Descriptor]) -> HashMap<Digest, Descriptor> {
    diff_ids.iter().copied().zip(layers.iter().cloned()).collect()
}

/// Whether an output is an image in the store.
fn is_image(output: &Target) -> bool {
    matches!(output.kind, Kind::Image { .. })
}

/// Checks that the outputs in the store are one image: their names are all its names.
fn one_image(outputs: &[Target]) -> Result<(), Error> {
    let mut images = outputs.iter().filter(|output| is_image(output)).map(|output| output.compress);
    let first = images.next();
    match images.all(|other| Some(other) == first) {
        true => Ok(()),
        false => Err(Error::Request(
            "outputs that are images differ in compression: build once for each of them, it is cached".into(),
        )),
    }
}

/// `--annotation`s, and those of the outputs.
fn annotations(request: &Request) -> Result<Vec<export::Annotation>, Error> {
    let of_outputs = request.outputs.iter().flat_map(|output| &output.annotations);
    let mut annotations = Vec::new();
    for text in request.annotations.iter().chain(of_outputs) {
        annotations.extend(export::Annotation::read(text)?);
    }
    Ok(annotations)
}

/// Whether `--allow` says what there is.
fn entitlements(allow: &[String]) -> Result<(), Error> {
    let known = ["network.host", "security.insecure"];
    match allow.iter().find(|word| !known.contains(&word.as_str())) {
        None => Ok(()),
        Some(word) => {
            let hint = nearest(word, &known).map(|near| format!(" (did you mean {near}?)"));
            let hint = hint.unwrap_or_default();
            Err(Error::Request(format!(
                "invalid entitlement {word:?}{hint}: expected {}",
                known.join(" or ")
            )))
        }
    }
}

/// The contexts by name; the build's own has none.
fn contexts(host: &Host, request: &Request, ignore: Ignore) -> Result<BTreeMap<String, Arc<Context>>, Error> {
    let indexes = cache::indexes(&host.cache);
    let own = Context::open("", &request.context, ignore, &indexes)?;
    let mut contexts = BTreeMap::from([(String::new(), Arc::new(own))]);
    for (name, context) in &request.contexts {
        if let NamedContext::Files(files) = context {
            let ignore = context::ignore(files)?;
            contexts.insert(name.clone(), Arc::new(Context::open(name, files, ignore, &indexes)?));
        }
    }
    Ok(contexts)
}

/// What to build for: the host, if nothing is said.
fn platforms(request: &Request) -> Result<Vec<Platform>, Error> {
    let mut platforms = Vec::new();
    for text in request.platforms.iter().flat_map(|text| text.split(',')) {
        if let Some(platform) = convert::platform(text.trim())?
            && !platforms.contains(&platform)
        {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.push(Platform::host());
    }
    Ok(platforms)
}

/// `SOURCE_DATE_EPOCH` among the build arguments.
fn epoch(request: &Request) -> Result<Option<i64>, Error> {
    match request.args.get("SOURCE_DATE_EPOCH").and_then(Option::as_deref) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            Error::Request(format!("invalid SOURCE_DATE_EPOCH: {text}: expected seconds since 1970"))
        }),
    }
}

/// The names of the result: tags, not digests.
fn tags(texts: &[String]) -> Result<Vec<Reference>, Error> {
    let mut tags = Vec::new();
    for text in texts {
        let reference: Reference =
            text.parse().map_err(|e| Error::Request(format!("invalid tag {text:?}: {e}")))?;
        if reference.digest.is_some() {
            return Err(Error::Request("build tag cannot contain a digest".into()));
        }
        let reference = reference.or_latest();
        if !tags.contains(&reference) {
            tags.push(reference);
        }
    }
    Ok(tags)
}
