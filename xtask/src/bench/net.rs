//! Networks: what they cost a start, a connection, a look-up. `cargo xtask bench network`.
//!
//! Direct connections to a container are the measure for those through a published port, in the same run.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::peer::Peer;
use super::report::{Promise, Report};
use super::{Options, median, timed};
use crate::Outcome;

/// Bytes of one measurement of throughput, and how often it is made.
const BYTES: u64 = 512 << 20;
const ROUNDS: usize = 25;
const PORTS: usize = 1000;
const LOOKUPS: usize = 20_000;
/// Look-ups on their way at once.
const AT_ONCE: usize = 8;

/// Runs it.
pub(super) fn bench(options: &Options) -> Outcome {
    let corten = &mut Peer::corten("corten", &options.dist()?)?;
    let mut report = Report::new("network", &["corten"]);
    start(corten, options.times, &mut report)?;
    ports(corten, &mut report)?;
    throughput(corten, &mut report)?;
    names(corten, &mut report)?;
    parallel(corten, &mut report)?;
    report.finish(options.gate)
}

/// The network's share of a start.
fn start(peer: &Peer, times: usize, report: &mut Report) -> Outcome {
    let run = |network: &str| -> Result<f64, String> {
        let words = ["run", "-d", "--name", "n1", "--network", network, "busybox:bench", "sleep", "1000"];
        let figure = timed(|| peer.ok(&words).map(drop))?;
        peer.ok(&["rm", "-f", "n1"])?;
        Ok(figure)
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..=times.max(10) {
        with.push(run("bridge")?);
        without.push(run("none")?);
    }
    report.row("network's share of a start", "ms", &[median(with) - median(without)], Promise::most(3.0));
    Ok(())
}

/// What the thousandth published port costs, and what a connection costs then.
fn ports(peer: &Peer, report: &mut Report) -> Outcome {
    let serve = ["sh", "-c", "echo page > /tmp/index.html; httpd -f -p 80 -h /tmp"];
    let publish = |name: &str, port: &str| {
        timed(|| {
            peer.ok(&[&["run", "-d", "--name", name, "-p", port, "busybox:bench"], &serve[..]].concat())
                .map(drop)
        })
    };
    let first = median(
        (0..5)
            .map(|_| {
                let figure = publish("one", "20000:80")?;
                peer.ok(&["rm", "-f", "one"])?;
                Ok(figure)
            })
            .collect::<Result<_, String>>()?,
    );
    publish("one", "20000:80")?;
    let alone = connect(peer, 20000)?;
    publish("many", &format!("21000-{}:1000-{}", 20999 + PORTS - 1, 998 + PORTS))?;
    let last = median(
        (0..5)
            .map(|_| {
                let figure = publish("last", "20001:80")?;
                peer.ok(&["rm", "-f", "last"])?;
                Ok(figure)
            })
            .collect::<Result<_, String>>()?,
    );
    let among = connect(peer, 20000)?;
    peer.ok(&["rm", "-f", "one", "many"])?;
    report.row("start with a first port", "ms", &[first], Promise::NONE);
    report.row(&format!("start with the {PORTS}th"), "ms", &[last], Promise::most(first * 1.2));
    report.row("connection, one port", "ms", &[alone], Promise::NONE);
    report.row(&format!("connection among {PORTS}"), "ms", &[among], Promise::most(alone * 1.2));
    Ok(())
}

/// Milliseconds of a connection to a published port, from the host.
fn connect(peer: &Peer, port: u16) -> Result<f64, String> {
    let said = inside(peer, &["bench-connect", &port.to_string()])?;
    said.trim().parse().map_err(|_| format!("a connection took {said:?}"))
}

/// Runs this program in the peer's network.
fn inside(peer: &Peer, words: &[&str]) -> Result<String, String> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?.display().to_string();
    let output = peer.inside(&[&[me.as_str()], words].concat()).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{words:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn throughput(peer: &Peer, report: &mut Report) -> Outcome {
    let sink = ["nc", "-ll", "-p", "5001", "-e", "sh", "-c", "cat > /dev/null"];
    peer.ok(&[&["run", "-d", "--name", "sink", "-p", "5001:5001", "busybox:bench"], &sink[..]].concat())?;
    let address = peer.ok(&["inspect", "-f", "{{.NetworkSettings.Networks.bridge.IPAddress}}", "sink"])?;
    let gateway = peer.ok(&["inspect", "-f", "{{.NetworkSettings.Networks.bridge.Gateway}}", "sink"])?;
    let ways = [address.as_str(), "127.0.0.1", gateway.as_str()];
    let mut figures: [Vec<f64>; 3] = Default::default();
    for round in 0..=ROUNDS {
        for turn in 0..ways.len() {
            let way = (round + turn) % ways.len();
            let said = inside(peer, &["bench-send", &format!("{}:5001", ways[way]), &BYTES.to_string()])?;
            let seconds: f64 = said.trim().parse().map_err(|_| format!("sending took {said:?}"))?;
            // The first round warms up.
            if round > 0 {
                figures[way].push(BYTES as f64 / 1e6 / seconds);
            }
        }
    }
    // On a busy machine one of these is twice another of its kind, wherever the kernel puts the two ends: each is compared
    // with the direct one right beside it.
    let shares = |way: usize| figures[way].iter().zip(&figures[0]).map(|(f, direct)| f / direct).collect();
    report.row("to a container directly", "MB/s", &[median(figures[0].clone())], Promise::NONE);
    for (way, what) in [(1, "127.0.0.1"), (2, "the host's address")] {
        let share = median(shares(way));
        let ratio = format!("{share:.2}");
        let figure = median(figures[way].clone());
        report.cells(&format!("… through a port at {what}"), "MB/s", &[figure], &ratio, "≥ 0.90");
        if share < 0.9 {
            report.broken(format!("throughput through {what}: {share:.2} of direct, promised 0.90"));
        }
    }
    peer.ok(&["rm", "-f", "sink"]).map(drop)
}

fn names(peer: &mut Peer, report: &mut Report) -> Outcome {
    peer.ok(&["network", "create", "names"])?;
    for name in ["asks", "db"] {
        peer.ok(&["run", "-d", "--name", name, "--network", "names", "busybox:bench", "sleep", "1000"])?;
    }
    let pid = peer.ok(&["inspect", "-f", "{{.State.Pid}}", "asks"])?;
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let asks = |word: &str| {
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n", "--"]).arg(&me).args([word, "db"]).stdout(Stdio::piped());
        command.spawn().map_err(|e| e.to_string())
    };
    let output = asks("bench-names")?.wait_with_output().map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let figures: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [rate, p99] = figures[..] else { return Err(format!("look-ups: {said:?}")) };
    report.cells("names a second", "", &[rate], "–", "≥ 10000");
    if rate < 10_000.0 {
        report.broken(format!("{rate:.0} names a second, promised 10000"));
    }
    report.row("… 99 % within", "ms", &[p99], Promise::most(1.0));
    let mut back = Vec::new();
    for _ in 0..10 {
        peer.kill_daemon()?;
        let asks = asks("bench-names-back")?;
        let start = since_epoch();
        peer.start_daemon()?;
        let output = asks.wait_with_output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let answered: f64 = said.trim().parse().map_err(|_| format!("names are back: {said:?}"))?;
        back.push(answered - start);
    }
    report.row("names after the daemon's start", "ms", &[median(back)], Promise::most(100.0));
    peer.ok(&["rm", "-f", "asks", "db"])?;
    peer.ok(&["network", "rm", "names"]).map(drop)
}

fn parallel(peer: &Peer, report: &mut Report) -> Outcome {
    const COUNT: usize = 200;
    let words =
        |n: usize| ["run".to_owned(), "-d".into(), "--name".into(), format!("p{n}"), "--network".into()];
    peer.ok(&["network", "create", "many"])?;
    let rest = ["many", "busybox:bench", "sleep", "1000"];
    let start = |n: usize| -> Result<Child, String> {
        let own = words(n);
        peer.start(&own.iter().map(String::as_str).chain(rest).collect::<Vec<_>>())
    };
    let wait = |child: Child| -> Outcome {
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    };
    let alone = timed(|| (0..10).try_for_each(|n| wait(start(n)?)))? / 10.0;
    let all = timed(|| {
        let started = (10..10 + COUNT).map(start).collect::<Result<Vec<_>, _>>()?;
        started.into_iter().try_for_each(wait)
    })?;
    let names: Vec<String> = (0..10 + COUNT).map(|n| format!("p{n}")).collect();
    peer.ok(&["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect::<Vec<_>>())?;
    let each = all / COUNT as f64;
    report.row(&format!("{COUNT} attached at once, each"), "ms", &[each], Promise::most(alone * 1.5));
    peer.ok(&["network", "rm", "many"]).map(drop)
}

/// The parts that run in another network namespace: they print their figures.
pub(crate) fn part(words: &[String]) -> Option<Outcome> {
    let word = |n: usize| words.get(n).map(String::as_str).unwrap_or_default();
    match word(0) {
        "bench-connect" => Some(connects(word(1))),
        "bench-send" => Some(send(word(1), word(2))),
        "bench-names" => Some(lookups(word(1))),
        "bench-names-back" => Some(first_answer(word(1))),
        _ => None,
    }
}

fn connects(port: &str) -> Outcome {
    let mut times = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        std::net::TcpStream::connect(format!("127.0.0.1:{port}")).map_err(|e| e.to_string())?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    println!("{}", median(times));
    Ok(())
}

fn send(to: &str, bytes: &str) -> Outcome {
    use std::io::{Read, Write};
    let failed = |e: std::io::Error| format!("{to}: {e}");
    let mut left: usize = bytes.parse().map_err(|_| "bench-send takes a number".to_owned())?;
    let mut stream = std::net::TcpStream::connect(to).map_err(failed)?;
    let buffer = vec![0; 256 * 1024];
    let start = Instant::now();
    while left > 0 {
        left -= stream.write(&buffer[..left.min(buffer.len())]).map_err(failed)?;
    }
    // The other side's end says that all has arrived.
    stream.shutdown(std::net::Shutdown::Write).map_err(failed)?;
    let _ = stream.read(&mut [0]);
    println!("{}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Recursion desired, one question: the name, A, IN.
fn query(number: u16, name: &str) -> Vec<u8> {
    let mut query = number.to_be_bytes().to_vec();
    query.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8]);
    query.extend_from_slice(name.as_bytes());
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// A socket to the name server, and how long it waits.
fn to_name_server(patience: Duration) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect("127.0.0.11:53")?;
    socket.set_read_timeout(Some(patience))?;
    Ok(socket)
}

/// Milliseconds, the same in every process.
fn since_epoch() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64() * 1e3
}

/// Asks until it is answered, and says when that was.
fn first_answer(name: &str) -> Outcome {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        // A socket of its own each time: a flow that was refused once is not led elsewhere.
        let answered = to_name_server(Duration::from_millis(2)).and_then(|socket| {
            socket.send(&query(1, name))?;
            // Who is refused waits as long as who is not answered.
            socket.recv(&mut [0; 512]).or_else(|_| socket.recv(&mut [0; 512]))
        });
        if answered.is_ok() {
            println!("{}", since_epoch());
            return Ok(());
        }
    }
    Err("no answer".into())
}

fn lookups(name: &str) -> Outcome {
    let failed = |e: std::io::Error| e.to_string();
    let socket = to_name_server(Duration::from_secs(2)).map_err(failed)?;
    let query = |number: u16| query(number, name);
    let (mut sent, mut times) = (vec![Instant::now(); LOOKUPS], Vec::with_capacity(LOOKUPS));
    let ask = |number: usize, sent: &mut Vec<Instant>| {
        sent[number] = Instant::now();
        socket.send(&query(number as u16)).map(drop).map_err(failed)
    };
    let start = Instant::now();
    (0..AT_ONCE).try_for_each(|number| ask(number, &mut sent))?;
    let mut buffer = [0; 512];
    while times.len() < LOOKUPS {
        let length = socket.recv(&mut buffer).map_err(failed)?;
        if length <= query(0).len() {
            return Err("an answer without an address".into());
        }
        let number = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
        times.push(sent[number].elapsed().as_secs_f64() * 1e3);
        let next = times.len() + AT_ONCE - 1;
        if next < LOOKUPS {
            ask(next, &mut sent)?;
        }
    }
    let rate = LOOKUPS as f64 / start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    println!("{rate} {}", times[LOOKUPS * 99 / 100]);
    Ok(())
}
