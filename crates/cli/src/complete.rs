//! What a word of a command line may become: asked by the shells' scripts, on every press of the tab key.
//!
//! `corten __complete WORD…` gets the words after the program's name, the last of them unfinished, and prints one
//! candidate on a line, a description after a tab. A last line `:files` leaves the word to the shell's own completion
//! of file names. It is quick and silent: with no engine that answers there are no names of containers, and no daemon is
//! started for them.

use std::time::Duration;

use client::Client;
use spec::Filters;

use crate::app::App;
use crate::context::{DEFAULT, Store};
use crate::globals::Globals;
use crate::verb::Command;
use crate::{commands, help, list, plugin, print};

/// The word that asks.
pub(crate) const WORD: &str = "__complete";
/// How long an engine may take.
const PATIENCE: Duration = Duration::from_millis(1500);

/// What belongs at a place of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// Names of containers in one of these states; in any if none is named.
    Containers(&'static [&'static str]),
    Images,
    Networks,
    Volumes,
    Contexts,
    /// Anything that `inspect` knows.
    Objects,
    Words(&'static [&'static str]),
    Files,
    Nothing,
}

const RUNNING: &[&str] = &["running"];
const STARTABLE: &[&str] = &["created", "exited"];
const SIGNALS: &[&str] = &["SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"];

/// Answers one question of a shell's.
pub(crate) fn main(words: &[String]) -> u8 {
    let (partial, before) = words.split_last().map_or(("", &[][..]), |(last, rest)| (last.as_str(), rest));
    let (globals, rest) = match Globals::read(before) {
        Ok(read) => read,
        // An option in front of the command still lacks its value.
        Err(_) => {
            let asks_context = before.last().is_some_and(|word| matches!(word.as_str(), "-c" | "--context"));
            let globals = Globals::default();
            let want = if asks_context { Want::Contexts } else { Want::Files };
            return show(candidates(&App::new(globals, String::new()), want, partial), want, partial);
        }
    };
    let app = App::new(globals, String::new());
    let Some((command, depth)) = crate::find(rest) else {
        return show(commands_after(&app, rest, partial), Want::Nothing, partial);
    };
    let rest = &rest[depth..];
    let flags = command.flags();
    let given = positionals(&flags, rest);
    if let Some(flag) = rest.last().and_then(|word| awaits_value(&flags, word)) {
        let want = of_flag(&flag);
        return show(candidates(&app, want, partial), want, partial);
    }
    if partial.starts_with('-') && !(command.options_first() && given > 0) {
        return show(options(&flags), Want::Nothing, partial);
    }
    let want = of_word(command, given);
    show(candidates(&app, want, partial), want, partial)
}

fn show(mut candidates: Vec<(String, String)>, want: Want, partial: &str) -> u8 {
    candidates.retain(|(name, _)| name.starts_with(partial));
    candidates.sort();
    candidates.dedup();
    let mut out = String::new();
    for (name, about) in candidates {
        let about = about.replace(['\t', '\n'], " ");
        out.push_str(&if about.is_empty() { format!("{name}\n") } else { format!("{name}\t{about}\n") });
    }
    if want == Want::Files {
        out.push_str(":files\n");
    }
    print::out(out);
    0
}

/// Commands, groups and plugins; within a group its verbs.
fn commands_after(app: &App, before: &[String], partial: &str) -> Vec<(String, String)> {
    let owned = |rows: &[(&str, &str)]| -> Vec<(String, String)> {
        rows.iter().map(|(name, about)| ((*name).to_owned(), (*about).to_owned())).collect()
    };
    match before {
        [] if partial.starts_with('-') => {
            let names = ["--config", "--context", "--debug", "--help", "--host", "--log-level", "--tls"];
            let more = ["--tlscacert", "--tlscert", "--tlskey", "--tlsverify", "--version"];
            names.into_iter().chain(more).map(|name| (name.to_owned(), String::new())).collect()
        }
        [] => {
            let mut rows = owned(&help::top_level());
            rows.extend(owned(commands::GROUPS));
            // Only their names: to ask each plugin for its description would take too long.
            let plugins = app.config().map(plugin::names).unwrap_or_default();
            rows.extend(plugins.into_iter().map(|name| (name, "Docker plugin".to_owned())));
            rows
        }
        [word] if word == "help" => owned(&[&help::top_level(), commands::GROUPS].concat()),
        [group] => owned(&help::verbs(group)),
        _ => Vec::new(),
    }
}

/// The long flags of a command.
fn options(flags: &clap::Command) -> Vec<(String, String)> {
    let shown = flags.get_opts().filter(|arg| !arg.is_hide_set() || arg.get_id() == "help");
    let mut rows: Vec<_> = shown
        .filter_map(|arg| {
            let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", arg.get_long()?), about))
        })
        .collect();
    rows.push(("--help".into(), "Print usage".into()));
    rows
}

/// The long name of the flag that `word` is, if its value is the next word.
fn awaits_value(flags: &clap::Command, word: &str) -> Option<String> {
    if word == "--" || word.contains('=') {
        return None;
    }
    let takes_value = |arg: &&clap::Arg| !arg.is_require_equals_set();
    let found = match word.strip_prefix("--") {
        Some(long) => flags.get_opts().find(|arg| arg.get_long() == Some(long)),
        // Of several short ones in a word only the last may want a value.
        None => {
            let short = word.strip_prefix('-')?.chars().last()?;
            flags.get_opts().find(|arg| arg.get_short() == Some(short))
        }
    };
    found.filter(takes_value).and_then(|arg| arg.get_long().map(str::to_owned))
}

/// How many words of `words` are neither flags nor their values.
fn positionals(flags: &clap::Command, words: &[String]) -> usize {
    let mut count = 0;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if !word.starts_with('-') || word == "-" {
            count += 1;
        } else if awaits_value(flags, word).is_some() {
            words.next();
        }
    }
    count
}

fn of_flag(flag: &str) -> Want {
    match flag {
        "network" | "net" => Want::Networks,
        "volumes-from" => Want::Containers(&[]),
        "from" => Want::Contexts,
        "restart" => Want::Words(&["always", "no", "on-failure", "unless-stopped"]),
        "pull" => Want::Words(&["always", "missing", "never"]),
        "signal" | "stop-signal" => Want::Words(SIGNALS),
        "type" => Want::Words(&["container", "image", "network", "volume"]),
        "driver" => Want::Words(&["bridge", "host", "ipvlan", "local", "macvlan", "none"]),
        "log-driver" => Want::Words(&["fluentd", "journald", "json-file", "local", "none", "syslog"]),
        "format" => Want::Words(&["json", "table"]),
        "progress" => Want::Words(&["auto", "plain", "quiet", "tty"]),
        _ => Want::Files,
    }
}

/// What belongs at the word number `given` of a command.
fn of_word(command: &Command, given: usize) -> Want {
    match (command.path, given) {
        ("container attach" | "container exec" | "container top", 0)
        | ("container kill" | "container pause" | "container stop" | "container stats", _)
        | ("container port", 0) => Want::Containers(RUNNING),
        ("container start", _) => Want::Containers(STARTABLE),
        ("container unpause", _) => Want::Containers(&["paused"]),
        (
            "container commit" | "container diff" | "container export" | "container logs"
            | "container rename",
            0,
        )
        | ("container inspect" | "container restart" | "container rm", _)
        | ("container update" | "container wait", _) => Want::Containers(&[]),
        ("container run" | "container create" | "image history" | "image push" | "image tag", 0)
        | ("image inspect" | "image rm" | "image save", _) => Want::Images,
        ("network connect" | "network disconnect", 1) => Want::Containers(&[]),
        ("network connect" | "network disconnect", 0) | ("network inspect" | "network rm", _) => {
            Want::Networks
        }
        ("volume inspect" | "volume rm", _)
        | ("volume cp" | "volume export" | "volume rename" | "volume update", 0) => Want::Volumes,
        ("context use" | "context update" | "context export", 0) | ("context inspect" | "context rm", _) => {
            Want::Contexts
        }
        ("inspect", _) => Want::Objects,
        ("completion", 0) => Want::Words(&["bash", "fish", "zsh"]),
        ("container cp" | "image build" | "image import" | "container exec" | "container run", _)
        | ("container create" | "context import" | "context export" | "volume import", _)
        | ("registry check" | "registry gc" | "registry serve", _) => Want::Files,
        _ => Want::Nothing,
    }
}

fn candidates(app: &App, want: Want, partial: &str) -> Vec<(String, String)> {
    match want {
        Want::Words(words) => words.iter().map(|word| ((*word).to_owned(), String::new())).collect(),
        Want::Files | Want::Nothing => Vec::new(),
        Want::Contexts => contexts(app),
        Want::Containers(_) | Want::Images | Want::Networks | Want::Volumes | Want::Objects => {
            let answered = app.block_on(async {
                let ask = async {
                    let client = app.client_if_running().await?;
                    names(&client, want, partial).await.ok()
                };
                Ok(tokio::time::timeout(PATIENCE, ask).await.ok().flatten())
            });
            answered.ok().flatten().unwrap_or_default()
        }
    }
}

fn contexts(app: &App) -> Vec<(String, String)> {
    let Ok(config) = app.config() else { return Vec::new() };
    let stored = Store::new(config.directory()).list().unwrap_or_default();
    let stored = stored.iter().map(|context| (context.name.clone(), context.description().to_owned()));
    stored.chain([(DEFAULT.to_owned(), String::new())]).collect()
}

async fn names(client: &Client, want: Want, partial: &str) -> client::Result<Vec<(String, String)>> {
    let filters = Filters::default();
    let mut found = Vec::new();
    let is = |kind: Want| want == kind || want == Want::Objects;
    if matches!(want, Want::Containers(_) | Want::Objects) {
        let states = if let Want::Containers(states) = want { states } else { &[] };
        for container in client.container_list(true, None, false, &filters).await? {
            if !states.is_empty() && !states.contains(&container.state.as_str()) {
                continue;
            }
            let about = format!("{}, {}", container.image, container.status);
            let names = container.names.iter().map(|name| name.trim_start_matches('/').to_owned());
            // A link's name has another container's in front.
            found.extend(names.filter(|name| !name.contains('/')).map(|name| (name, about.clone())));
            if !partial.is_empty() && container.id.starts_with(partial) {
                found.push((list::short_id(&container.id).to_owned(), about));
            }
        }
    }
    if is(Want::Images) {
        for image in client.image_list(false, false, &filters).await? {
            let tags = image.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>");
            for tag in tags {
                // A tag nobody has to type is not typed.
                let short = tag.strip_suffix(":latest").map(str::to_owned);
                found.push((short.unwrap_or(tag), String::new()));
            }
        }
    }
    if is(Want::Networks) {
        let networks = client.network_list(&filters).await?;
        found.extend(networks.into_iter().map(|network| (network.name, network.driver)));
    }
    if is(Want::Volumes) {
        let volumes = client.volume_list(&filters).await?.volumes;
        found.extend(volumes.into_iter().map(|volume| (volume.name, String::new())));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_kind() {
        let want = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let (command, depth) = crate::find(&words).unwrap();
            let (flags, rest) = (command.flags(), &words[depth..]);
            match rest.last().and_then(|word| awaits_value(&flags, word)) {
                Some(flag) => of_flag(&flag),
                None => of_word(command, positionals(&flags, rest)),
            }
        };
        assert_eq!(want("stop"), Want::Containers(RUNNING));
        assert_eq!(want("stop -t 5 one"), Want::Containers(RUNNING));
        assert_eq!(want("container start"), Want::Containers(STARTABLE));
        assert_eq!(want("run -it --rm --name x"), Want::Images);
        assert_eq!(want("run -it --network"), Want::Networks);
        assert_eq!(want("run -itv"), Want::Files);
        assert_eq!(want("run busybox"), Want::Files);
        assert_eq!(want("network connect net"), Want::Containers(&[]));
        assert_eq!(want("ps"), Want::Nothing);
    }
}
