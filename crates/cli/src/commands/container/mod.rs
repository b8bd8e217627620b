//! `corten container …`.

mod api_socket;
pub(crate) mod attach;
pub(crate) mod commit;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod diff;
pub(crate) mod exec;
pub(crate) mod export;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod pause;
pub(crate) mod port;
pub(crate) mod prune;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod run;
mod sample;
pub(crate) mod start;
pub(crate) mod stats;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod update;
pub(crate) mod wait;

use crate::error::{Error, Result};
use crate::json::Json;
use crate::{print, together};

/// Does the same to each object and goes on after a failure. `act` returns what to print.
pub(crate) async fn each<F>(names: &[String], act: impl Fn(String) -> F) -> Result<u8>
where
    F: Future<Output = Result<String>>,
{
    let mut code = 0;
    for name in names {
        match act(name.clone()).await {
            Ok(text) if text.is_empty() => {}
            Ok(text) => print::line(text),
            Err(error) => {
                print::err_line(error.line());
                code = 1;
            }
        }
    }
    Ok(code)
}

/// Requests in flight at the same time.
const AT_ONCE: usize = 50;

/// The same to many of them at once; the answers are printed in the order of the names.
pub(crate) async fn at_once<F>(names: &[String], act: impl Fn(String) -> F) -> Result<u8>
where
    F: Future<Output = Result<String>>,
{
    let mut code = 0;
    for names in names.chunks(AT_ONCE) {
        for outcome in together::all(names.iter().cloned().map(&act)).await {
            match outcome {
                Ok(text) if text.is_empty() => {}
                Ok(text) => print::line(text),
                Err(error) => {
                    print::err_line(error.line());
                    code = 1;
                }
            }
        }
    }
    Ok(code)
}

/// Refuses what another engine would leave out without a word.
pub(crate) async fn need_corten(client: &client::Client, what: &str) -> Result<()> {
    let version = Json::parse(&client.version_raw().await?);
    match version.is_ok_and(|version| version.text(&["Platform", "Name"]) == "Corten") {
        true => Ok(()),
        false => {
            Err(Error::invalid(format!("{what}: only Corten's daemon knows it, and this is another one")))
        }
    }
}

/// The status and the words of `run`, `create` and `start` when the engine refuses: 127 for a program that is not
/// there, 126 for one that cannot be executed, 125 for everything else.
pub(crate) fn refused(error: &Error, called: &str) -> Error {
    let line = error.line();
    let by_engine = matches!(error, Error::Client(client::Error::Daemon { .. }));
    let has = |text: &str| by_engine && line.contains(text);
    let code = if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied") || has("is a directory") {
        126
    } else {
        125
    };
    let program = crate::app::program();
    let message = format!("{program}: {line}\n\nRun '{called} --help' for more information");
    Error::Exit { code, message }
}
