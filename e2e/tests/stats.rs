//! `docker stats` with the original client, and the API's samples.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::BufRead;

use serde_json::Value;
use testkit::{Command, Host, until};

fn curl(host: &Host, path: &str) -> Command {
    let socket = host.path("corten.sock").display().to_string();
    Command::new(&["curl", "-sSN", "--unix-socket", &socket, &format!("http://localhost/v1.47{path}")])
}

fn get(host: &Host, path: &str) -> Value {
    serde_json::from_str(&curl(host, path).ok()).unwrap()
}

#[test]
fn the_figures_are_right() {
    let host = Host::new();
    let docker = |arguments: &[&str]| host.docker(arguments).ok();
    let script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=50 2>/dev/null; ping -c 3 -s 1000 $(hostname -i) >/dev/null; \
                  touch /ready; while :; do :; done";
    docker(&[
        "run",
        "-d",
        "--name",
        "busy",
        "-m",
        "200m",
        "--pids-limit",
        "50",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    until("the load", || {
        host.docker(&["exec", "busy", "test", "-e", "/ready"]).output().code.eq(&0).then_some(())
    });

    let format = "{{.Name}}|{{.CPUPerc}}|{{.MemUsage}}|{{.PIDs}}|{{.NetIO}}";
    let line = docker(&["stats", "--no-stream", "--format", format, "busy"]);
    let fields: Vec<&str> = line.split('|').collect();
    let percent: f64 = fields[1].trim_end_matches('%').parse().unwrap();
    // The machine is shared with other tests.
    assert!(percent > 20.0 && percent < 110.0, "{line}");
    let megabytes: f64 = fields[2].split("MiB").next().unwrap().parse().unwrap();
    assert!((50.0..70.0).contains(&megabytes), "{line}");
    assert!(fields[2].ends_with("/ 200MiB"), "{line}");
    assert_eq!((fields[0], fields[3]), ("busy", "1"), "{line}");

    let sample = get(&host, "/containers/busy/stats?stream=false");
    let cpu = |which: &str| sample[which]["cpu_usage"]["total_usage"].as_u64().unwrap();
    assert!(cpu("cpu_stats") > cpu("precpu_stats") && cpu("precpu_stats") > 0, "{sample}");
    assert!(sample["cpu_stats"]["online_cpus"].as_u64().unwrap() > 0);
    assert_eq!((&sample["name"], &sample["pids_stats"]["limit"]), (&"/busy".into(), &50.into()));
    assert!(sample["networks"]["eth0"]["rx_bytes"].is_u64(), "{sample}");
    let once = get(&host, "/containers/busy/stats?stream=false&one-shot=true");
    assert_eq!(once["precpu_stats"]["cpu_usage"]["total_usage"], 0);
    assert_eq!(once["preread"], "0001-01-01T00:00:00Z");

    docker(&["kill", "busy"]);
    until("its end", || (docker(&["inspect", "-f", "{{.State.Status}}", "busy"]) == "exited").then_some(()));
    let zero = get(&host, "/containers/busy/stats?stream=false");
    assert_eq!((&zero["read"], &zero["name"]), (&"0001-01-01T00:00:00Z".into(), &"/busy".into()));
    assert_eq!(zero["memory_stats"], serde_json::json!({}));
    assert!(zero["blkio_stats"]["io_service_bytes_recursive"].is_null());
    assert!(docker(&["stats", "--no-stream", "--no-trunc", "busy"]).contains("0.00%"));
    host.finish();
}

/// Several clients share a sampler, which ends with them; a stream ends with its container.
#[test]
fn streams_share_one_sampler() {
    let host = Host::new();
    host.docker(&["run", "-d", "--name", "idle", "busybox", "sleep", "1000"]).ok();
    let mut clients: Vec<_> = (0..3).map(|_| curl(&host, "/containers/idle/stats").spawn()).collect();
    let mut streams: Vec<_> =
        clients.iter_mut().map(|c| std::io::BufReader::new(c.stdout.take().unwrap()).lines()).collect();
    let mut moments = |n: usize| -> Vec<String> {
        let lines = streams[n].by_ref().take(4);
        let samples = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        samples.map(|sample| sample["read"].as_str().unwrap().to_owned()).collect()
    };
    // The samples are the same ones: a moment of the first is told to all.
    let (first, second, third) = (moments(0), moments(1), moments(2));
    assert!(first.iter().any(|m| second.contains(m) && third.contains(m)), "{first:?} {second:?} {third:?}");
    host.docker(&["rm", "-f", "idle"]).ok();
    for (client, stream) in clients.iter_mut().zip(streams) {
        assert!(stream.count() < 10);
        assert!(client.wait().unwrap().success());
    }
    host.finish();
}
