//! Further processes in a running container.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail")]

mod common;

use common::{ALL, BOTH, Client, Place, RAW};
use shim::client::{Connection, Error, Watch};
use shim::proto::{Event, Exec};

fn idle() -> Place {
    let mut place = Place::new();
    let create = place.create(&["/bin/sleep", "1000"]);
    place.run(create);
    place
}

fn end(mut place: Place) {
    place.connection().kill(9, None, false).unwrap();
    assert_eq!(place.wait().code, 137);
    place.close();
}

fn code(watch: &mut Watch, exec: &str) -> i32 {
    loop {
        match watch.next().unwrap().unwrap() {
            Event::ExecExited { id, exit } if id == exec => return exit.code,
            Event::ExecExited { .. } | Event::Exited(_) | Event::Oom | Event::LogLost { .. } => {}
        }
    }
}

fn watch(place: &Place) -> Watch {
    Connection::connect(&place.shim_directory()).unwrap().watch().unwrap()
}

#[test]
fn an_exec_has_its_own_streams_and_code() {
    let mut place = idle();
    let mut events = watch(&place);
    let process = place.process(&["/bin/sh", "-c", "cat; echo err >&2; exit 4"]);
    let mut client = place.exec("one", process, ALL);
    assert_eq!(place.connection().status().unwrap().execs, ["one"]);
    client.write(b"through\n");
    client.end();
    assert_eq!(client.frames(), (b"through\n".to_vec(), b"err\n".to_vec()));
    assert_eq!(code(&mut events, "one"), 4);
    assert_eq!(place.connection().status().unwrap().execs, Vec::<String>::new());
    assert_eq!(place.log(None), "", "an exec's output is not the container's");
    end(place);
}

#[test]
fn many_execs_at_a_time_keep_their_codes() {
    let mut place = idle();
    let mut events = watch(&place);
    let mut clients: Vec<Client> = Vec::new();
    for n in 0..20 {
        let script = format!("read x; echo {n}; exit {n}");
        let process = place.process(&["/bin/sh", "-c", &script]);
        clients.push(place.exec(&format!("e{n}"), process, ALL));
    }
    clients.iter_mut().for_each(|client| client.write(b"go\n"));
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.frames().0, format!("{n}\n").into_bytes());
    }
    let mut codes: Vec<(String, i32)> = (0..20)
        .map(|_| match events.next().unwrap().unwrap() {
            Event::ExecExited { id, exit } => (id, exit.code),
            other => panic!("{other:?}"),
        })
        .collect();
    codes.sort_by_key(|(_, code)| *code);
    let expected: Vec<(String, i32)> = (0..20).map(|n| (format!("e{n}"), n)).collect();
    assert_eq!(codes, expected);
    end(place);
}

#[test]
fn an_exec_on_a_terminal_is_resized_and_killed() {
    let mut place = idle();
    let mut events = watch(&place);
    let mut process = place.process(&["/bin/sh", "-c", "echo ready; read x; stty size; sleep 1000"]);
    process.terminal = true;
    let mut client = place.exec("tty", process, RAW);
    client.read_until("ready\r\n");
    place.connection().resize(Some("tty"), 33, 44).unwrap();
    client.write(b"\n");
    client.read_until("33 44\r\n");
    place.connection().kill(9, Some("tty"), false).unwrap();
    assert_eq!(code(&mut events, "tty"), 137);
    assert_eq!(client.rest(), "");
    end(place);
}

#[test]
fn a_background_child_does_not_keep_an_exec_alive() {
    let mut place = idle();
    let mut events = watch(&place);
    let process = place.process(&["/bin/sh", "-c", "sleep 1000 & echo started"]);
    let mut client = place.exec("bg", process, BOTH);
    assert_eq!(client.frames().0, b"started\n");
    assert_eq!(code(&mut events, "bg"), 0);
    end(place);
}

#[test]
fn a_detached_exec_and_refused_ones() {
    let mut place = idle();
    let mut events = watch(&place);
    let detached =
        |place: &Place, args: &[&str]| Exec { id: "d".into(), process: place.process(args), attach: None };
    let exec = detached(&place, &["/bin/sh", "-c", "echo x; exit 6"]);
    place.connection().exec(exec, None).unwrap();
    assert_eq!(code(&mut events, "d"), 6);
    let exec = detached(&place, &["/bin/missing"]);
    let Err(Error::Failed(failure)) = place.connection().exec(exec, None) else { panic!("it cannot run") };
    assert_eq!((failure.step.as_str(), failure.errno), ("exec", 2), "{failure}");
    let Err(Error::Failed(failure)) = place.connection().kill(15, Some("no such"), false) else {
        panic!("no exec")
    };
    assert_eq!(failure.errno, 3);
    end(place);
}

#[test]
fn the_end_of_init_ends_its_execs() {
    let mut place = idle();
    let mut events = watch(&place);
    let process = place.process(&["/bin/sleep", "1000"]);
    let mut client = place.exec("e", process, BOTH);
    place.connection().kill(9, None, false).unwrap();
    assert_eq!(client.frames(), (Vec::new(), Vec::new()));
    assert_eq!(code(&mut events, "e"), 137);
    assert_eq!(place.wait().code, 137);
    place.close();
}
