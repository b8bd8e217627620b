//! Provenance: what an image was built from and how (slsa.dev), in BuildKit's form.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use serde_json::{Map, Value, json};
use spec::Digest;
use spec::api::Platform;

use super::attest::Statement;
use crate::error::{Error, Result};
use crate::finish::Finished;
use crate::graph::{Edge, From, MountOp, Op, Place, Vertex, order};
use crate::instructions::read::nearest;
use crate::{Origin, Request};

const PREDICATE_1: &str = "https://slsa.dev/provenance/v1";
const PREDICATE_02: &str = "https://slsa.dev/provenance/v0.2";
const BUILD_TYPE_1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_02: &str = "https://mobyproject.org/buildkit@v1";

/// `--provenance`: what is told, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Also the whole graph, the Dockerfile, values of arguments, names of secrets.
    pub max: bool,
    /// As version 0.2 of the format.
    pub old: bool,
    /// Who built.
    pub builder: String,
    /// The user says that the same comes of it each time.
    pub reproducible: bool,
    /// Not among the files of an output.
    pub inline_only: bool,
    /// What it is called there; empty is `provenance.json`.
    pub file: String,
}

impl Provenance {
    /// Reads `--provenance`'s value; `None` for none. Without a mode all is told, as BuildKit does.
    ///
    /// # Errors
    /// A word or value that nobody knows.
    pub fn read(text: &str) -> Result<Option<Self>> {
        let mut read = Self { max: true, ..Self::default() };
        for field in text.split(',').map(str::trim) {
            let wrong = |expected: &str| {
                Err(Error::Request(format!("invalid provenance {text:?}: {field}: expected {expected}")))
            };
            match field.split_once('=').unwrap_or((field, "")) {
                ("false" | "disabled", _) => return Ok(None),
                ("" | "true", _) => {}
                ("mode", "max" | "full") => read.max = true,
                ("mode", "min") => read.max = false,
                ("mode", _) => return wrong("mode=min or mode=max"),
                ("version", "v1") => read.old = false,
                ("version", "v0.2") => read.old = true,
                ("version", _) => return wrong("version=v1 or version=v0.2"),
                ("builder-id", id) => id.clone_into(&mut read.builder),
                ("reproducible", value) => match value.parse() {
                    Ok(value) => read.reproducible = value,
                    Err(_) => return wrong("reproducible=true or reproducible=false"),
                },
                ("inline-only", value) => match value.parse() {
                    Ok(value) => read.inline_only = value,
                    Err(_) => return wrong("inline-only=true or inline-only=false"),
                },
                ("filename", name) if name.contains('/') => return wrong("a file's name"),
                ("filename", name) => name.clone_into(&mut read.file),
                (name, _) => {
                    let known = ["mode", "version", "builder-id", "reproducible", "inline-only", "filename"];
                    let hint = nearest(name, &known).map(|near| format!(" (did you mean {near}?)"));
                    return wrong(&format!("{}{}", known.join(", "), hint.unwrap_or_default()));
                }
            }
        }
        Ok(Some(read))
    }
}

/// What a statement is made of.
#[derive(Debug)]
pub(crate) struct Facts<'f> {
    pub(crate) request: &'f Request,
    pub(crate) wish: &'f Provenance,
    /// The Dockerfile.
    pub(crate) source: &'f [u8],
    pub(crate) image: &'f Finished,
    pub(crate) platform: &'f Platform,
    /// What sources turned out to be, by vertex.
    pub(crate) resolved: &'f HashMap<Digest, String>,
    /// The Dockerfile's line of each vertex.
    pub(crate) places: &'f HashMap<Digest, u32>,
    /// The build's id.
    pub(crate) invocation: &'f str,
    pub(crate) started: &'f str,
    pub(crate) finished: &'f str,
}

impl Facts<'_> {
    /// What was built, how, from what.
    pub(crate) fn statement(&self) -> Statement {
        let vertices = self.image.root.iter().map(|root| order(std::slice::from_ref(root))).next();
        let vertices = vertices.unwrap_or_default();
        let materials: Vec<Value> =
            self.images(&vertices).into_iter().chain(self.downloads(&vertices)).collect();
        let locals = locals(self.request, &vertices);
        let online = vertices.iter().any(is_online);
        let complete = locals.is_empty() && !online;
        let (request, told) = self.parameters(&vertices, &locals);
        let config = self.config_source();
        let metadata = self.metadata(&vertices);
        let build = if self.wish.max { json!({ "llbDefinition": steps(&vertices) }) } else { Value::Null };
        let host = Platform::host().to_string();
        let (predicate, mut content) = if self.wish.old {
            let content = json!({
                "builder": { "id": self.wish.builder },
                "buildType": BUILD_TYPE_02,
                "materials": materials,
                "invocation": {
                    "configSource": renamed(config, "path", "entryPoint"),
                    "parameters": request,
                    "environment": { "platform": host },
                },
                "buildConfig": build,
                "metadata": {
                    "buildInvocationID": self.invocation,
                    "buildStartedOn": self.started,
                    "buildFinishedOn": self.finished,
                    "completeness": { "parameters": told, "environment": true, "materials": complete },
                    "reproducible": self.wish.reproducible,
                    "https://mobyproject.org/buildkit@v1#metadata": metadata,
                    "https://mobyproject.org/buildkit@v1#hermetic": complete,
                },
            });
            (PREDICATE_02, content)
        } else {
            let content = json!({
                "buildDefinition": {
                    "buildType": BUILD_TYPE_1,
                    "externalParameters": { "configSource": config, "request": request },
                    "internalParameters": { "builderPlatform": host, "buildConfig": build },
                    "resolvedDependencies": materials,
                },
                "runDetails": {
                    "builder": { "id": self.wish.builder },
                    "metadata": {
                        "invocationId": self.invocation,
                        "startedOn": self.started,
                        "finishedOn": self.finished,
                        "buildkit_metadata": metadata,
                        "buildkit_hermetic": complete,
                        "buildkit_completeness": { "request": told, "resolvedDependencies": complete },
                        "buildkit_reproducible": self.wish.reproducible,
                    },
                },
            });
            (PREDICATE_1, content)
        };
        prune(&mut content);
        let named = if self.wish.file.is_empty() { "provenance.json" } else { &self.wish.file };
        Statement { predicate, content, file: (!self.wish.inline_only).then(|| named.to_owned()) }
    }

    fn images(&self, vertices: &[Edge]) -> Vec<Value> {
        let platform = self.platform.to_string().replace('/', "%2F");
        let material = |vertex: &Edge| match &vertex.op {
            Op::Image(image) => Some(json!({
                "uri": format!("pkg:docker/{}?platform={platform}", image.name.replacen(':', "@", 1)),
                "digest": { "sha256": image.digest.hex() },
            })),
            _ => None,
        };
        vertices.iter().filter_map(material).collect()
    }

    /// Repositories, then files, as BuildKit has them.
    fn downloads(&self, vertices: &[Edge]) -> Vec<Value> {
        let resolved = |vertex: &Vertex| self.resolved.get(&vertex.digest).cloned().unwrap_or_default();
        let repository = |vertex: &Edge| match &vertex.op {
            Op::Git(git) => {
                let uri = match git.address.reference.as_str() {
                    "" => git.address.url.clone(),
                    reference => format!("{}#{reference}", git.address.url),
                };
                Some(json!({ "uri": uri, "digest": { "sha1": resolved(vertex) } }))
            }
            _ => None,
        };
        let file = |vertex: &Edge| match &vertex.op {
            Op::Http(http) => {
                let digest = resolved(vertex);
                let digest = digest.strip_prefix("sha256:").unwrap_or(&digest);
                Some(json!({ "uri": http.url, "digest": { "sha256": digest } }))
            }
            _ => None,
        };
        let origin = self.request.origin.iter().map(|Origin { uri, commit }| {
            let uri = uri.split_once('#').map_or(uri.as_str(), |(url, _)| url);
            json!({ "uri": uri, "digest": { "sha1": commit } })
        });
        origin.chain(vertices.iter().filter_map(repository)).chain(vertices.iter().filter_map(file)).collect()
    }

    fn config_source(&self) -> Value {
        let name = if self.request.dockerfile.is_empty() { "Dockerfile" } else { &self.request.dockerfile };
        match &self.request.origin {
            Some(Origin { uri, commit }) => json!({ "uri": uri, "digest": { "sha1": commit }, "path": name }),
            None => json!({ "path": name }),
        }
    }

    /// What was asked for, and whether that is all of it: arguments and labels may be secrets, so they are told only if
    /// all is.
    fn parameters(&self, vertices: &[Edge], locals: &BTreeSet<String>) -> (Value, bool) {
        let (request, max) = (self.request, self.wish.max);
        let mut arguments = BTreeMap::new();
        if max {
            for (name, value) in &request.args {
                arguments.insert(format!("build-arg:{name}"), value.clone().unwrap_or_default());
            }
            arguments
                .extend(request.labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
        }
        for (name, value) in [
            ("target", request.target.clone()),
            ("no-cache", request.no_cache_filter.join(",")),
            ("add-hosts", request.extra_hosts.join(",").replace(':', "=")),
        ] {
            if !value.is_empty() {
                arguments.insert(name.to_owned(), value);
            }
        }
        if request.no_cache {
            arguments.insert("no-cache".into(), String::new());
        }
        if !matches!(request.network.as_str(), "" | "default" | "bridge") {
            arguments.insert("force-network-mode".into(), request.network.clone());
        }
        let locals: Vec<Value> = locals.iter().map(|name| json!({ "name": name })).collect();
        let mut parameters = json!({ "frontend": "dockerfile.v0", "args": arguments, "locals": locals });
        let mounts = secrets(vertices);
        let hidden = !request.args.is_empty() || !request.labels.is_empty() || mounts != (vec![], vec![]);
        if max {
            (parameters["secrets"], parameters["ssh"]) = (mounts.0.into(), mounts.1.into());
        }
        (parameters, max || !hidden)
    }

    /// The Dockerfile, where each step is in it, and the layers of the result.
    fn metadata(&self, vertices: &[Edge]) -> Value {
        if !self.wish.max {
            return json!({});
        }
        let mut locations = Map::new();
        for (number, vertex) in vertices.iter().enumerate() {
            if let Some(line) = self.places.get(&vertex.digest) {
                let place = json!({ "line": line });
                let range = json!({ "start": place, "end": place });
                locations.insert(format!("step{number}"), json!({ "locations": [{ "ranges": [range] }] }));
            }
        }
        let name = if self.request.dockerfile.is_empty() { "Dockerfile" } else { &self.request.dockerfile };
        let data = base64::engine::general_purpose::STANDARD.encode(self.source);
        let info = json!({ "filename": name, "language": "Dockerfile", "data": data });
        let mut metadata = json!({ "source": { "locations": locations, "infos": [info] } });
        if let Some(last) = vertices.len().checked_sub(1) {
            metadata["layers"] = json!({ format!("step{last}:0"): [self.image.layers] });
        }
        metadata
    }
}

/// Contexts on the client's machine that were read, and the Dockerfile.
fn locals(request: &Request, vertices: &[Edge]) -> BTreeSet<String> {
    fn contexts(from: &From, names: &mut BTreeSet<String>) {
        match from {
            From::Context(context) if context.name.is_empty() => drop(names.insert("context".into())),
            From::Context(context) => drop(names.insert(context.name.clone())),
            From::Each(each) => each.iter().for_each(|from| contexts(from, names)),
            From::Edge(_) => {}
        }
    }
    if request.origin.is_some() {
        return BTreeSet::new();
    }
    let mut names = BTreeSet::from(["dockerfile".to_owned()]);
    for vertex in vertices {
        if let Op::Copy(copy) = &vertex.op {
            contexts(&copy.from, &mut names);
        }
    }
    names
}

/// Whether a step could fetch what nobody knows of.
fn is_online(vertex: &Edge) -> bool {
    matches!(&vertex.op, Op::Exec(exec) if exec.network != Place::None)
}

/// Secrets and agents that steps ask for.
fn secrets(vertices: &[Edge]) -> (Vec<Value>, Vec<Value>) {
    let (mut secrets, mut agents) = (BTreeMap::new(), BTreeMap::new());
    for vertex in vertices {
        let Op::Exec(exec) = &vertex.op else { continue };
        for mount in &exec.mounts {
            let (place, id, required) = match &mount.what {
                MountOp::Secret { id, required, .. } => (&mut secrets, id, required),
                MountOp::Ssh { id, required, .. } => (&mut agents, id, required),
                MountOp::Bind { .. } | MountOp::Cache(_) | MountOp::Tmpfs { .. } => continue,
            };
            *place.entry(id.clone()).or_insert(false) |= required;
        }
    }
    let list = |found: BTreeMap<String, bool>| {
        found.into_iter().map(|(id, required)| json!({ "id": id, "optional": !required })).collect()
    };
    (list(secrets), list(agents))
}

/// The graph as LLB has it.
fn steps(vertices: &[Edge]) -> Vec<Value> {
    let numbers: HashMap<Digest, usize> =
        vertices.iter().enumerate().map(|(number, vertex)| (vertex.digest, number)).collect();
    let step = |(number, vertex): (usize, &Edge)| {
        let inputs: Vec<String> = vertex
            .inputs()
            .iter()
            .filter_map(|input| Some(format!("step{}:0", numbers.get(&input.digest)?)))
            .collect();
        json!({ "id": format!("step{number}"), "op": { "Op": operation(vertex) }, "inputs": inputs })
    };
    vertices.iter().enumerate().map(step).collect()
}

fn operation(vertex: &Vertex) -> Value {
    match &vertex.op {
        Op::Image(image) => {
            json!({ "source": { "identifier": format!("docker-image://{}@{}", image.name, image.digest) } })
        }
        Op::Http(http) => json!({ "source": { "identifier": http.url } }),
        Op::Git(git) => {
            let place = format!("{}#{}", git.address.url, git.address.reference);
            json!({ "source": { "identifier": format!("git://{place}") } })
        }
        Op::Exec(exec) => json!({ "exec": { "meta": {
            "args": exec.program.arguments, "env": exec.env, "cwd": exec.working_dir, "user": exec.user,
        } } }),
        Op::Copy(_) | Op::Mkdir(_) => json!({ "file": { "actions": [{ "description": vertex.name }] } }),
        Op::Merge(_) => json!({ "merge": { "description": vertex.name } }),
        Op::Squash(_) => json!({ "diff": { "description": vertex.name } }),
    }
}

fn renamed(mut object: Value, from: &str, to: &str) -> Value {
    if let Some(object) = object.as_object_mut()
        && let Some(value) = object.remove(from)
    {
        object.insert(to.to_owned(), value);
    }
    object
}

/// Leaves out what says nothing, where the format leaves it out.
fn prune(value: &mut Value) {
    const OPTIONAL: [&str; 9] = [
        "args",
        "buildConfig",
        "buildkit_hermetic",
        "buildkit_reproducible",
        "https://mobyproject.org/buildkit@v1#hermetic",
        "inputs",
        "locals",
        "secrets",
        "ssh",
    ];
    let is_empty = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(all) => {
            all.retain(|name, value| !(OPTIONAL.contains(&name.as_str()) && is_empty(value)));
            all.values_mut().for_each(prune);
        }
        Value::Array(all) => all.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read() {
        let read = |text| Provenance::read(text).unwrap();
        let all = Provenance { max: true, ..Provenance::default() };
        assert_eq!((read("true"), read("mode=max"), read("false")), (Some(all.clone()), Some(all), None));
        assert_eq!(read("mode=min,version=v1"), Some(Provenance::default()));
        let old = read("mode=min,version=v0.2,builder-id=me,reproducible=true,inline-only=true").unwrap();
        assert_eq!((old.old, old.builder.as_str(), old.reproducible), (true, "me", true));
        for (bad, words) in [
            ("mode=all", "expected mode=min or mode=max"),
            ("version=2", "expected version=v1 or version=v0.2"),
            ("mde=max", "did you mean mode?"),
            ("reproducible=x", "expected reproducible=true"),
        ] {
            let error = Provenance::read(bad).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
