//! A shim begins with a container before all of it is there.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may fail")]

mod common;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};

use common::Place;
use shim::client::Error;
use shim::promise::{EarlyRoot, Promise};
use shim::proto::{Create, Failure, Reply, Request};
use spec::oci::runtime::{Mount, Overlay};

/// Its root is an overlay of the place's, with an upper directory beside it.
fn over(place: &Place, script: &str) -> Create {
    let mut create = Create { promise: true, ..place.sh(script) };
    for name in ["upper", "work"] {
        fs::create_dir(place.path(name)).unwrap();
    }
    let text = |name: &str| place.path(name).display().to_string();
    let root = create.spec.root.as_mut().unwrap();
    let (upper, work) = (text("upper"), text("work"));
    root.overlay = Some(Overlay { lower: vec![text("root")], upper, work, idmap: false, volatile: true });
    create
}

fn bind(source: &std::path::Path, destination: &str) -> Mount {
    let options = vec!["rbind".into()];
    let (source, destination) = (source.display().to_string(), destination.into());
    Mount { source, destination, options, r#type: "bind".into(), ..Mount::default() }
}

/// Why a container that cannot start has not.
fn refused(place: &mut Place, create: Create, fds: &[&dyn AsFd]) -> Failure {
    match place.connection().call(&Request::Create(Box::new(create)), fds) {
        Err(Error::Failed(failure)) => failure,
        other => panic!("it cannot have started: {other:?}"),
    }
}

#[test]
fn what_is_promised_is_waited_for() {
    let mut place = Place::new();
    let late = place.path("late");
    let mut create = over(&place, "cat /etc/late; echo x > /written");
    create.spec.mounts.push(bind(&late, "/etc/late"));
    let root = EarlyRoot::of(&create.spec).expect("this kernel makes overlays unattached");
    let (promise, end) = Promise::new().unwrap();
    let pid = std::thread::scope(|scope| {
        let connection = place.connection();
        let call = scope.spawn(move || connection.call(&Request::Create(Box::new(create)), &[&end.as_fd()]));
        // Without waiting it would have found no such file.
        fs::write(&late, "late\n").unwrap();
        promise.keep(Some(&root.make().unwrap()), None);
        call.join().unwrap().unwrap()
    });
    assert!(matches!(pid, Reply::Pid(_)), "{pid:?}");
    assert_eq!(place.wait().code, 0);
    assert_eq!(place.log(None), "late\n");
    assert_eq!(fs::read_to_string(place.path("upper/written")).unwrap(), "x\n", "it was the promised root");
    place.close();
}

#[test]
fn the_network_may_come_with_the_rest() {
    let mut place = Place::new();
    let mut create = over(&place, "readlink /proc/self/ns/net");
    create.netns = true;
    let root = EarlyRoot::of(&create.spec).expect("this kernel makes overlays unattached");
    let (promise, end) = Promise::new().unwrap();
    let netns = std::thread::scope(|scope| {
        let connection = place.connection();
        let call = scope.spawn(move || connection.call(&Request::Create(Box::new(create)), &[&end.as_fd()]));
        let netns = scope.spawn(|| sys::netns::enter_new().unwrap()).join().unwrap();
        promise.keep(Some(&root.make().unwrap()), Some(netns.as_fd()));
        call.join().unwrap().unwrap();
        netns
    });
    assert_eq!(place.wait().code, 0);
    let inode = fs::File::from(netns).metadata().unwrap().ino();
    assert_eq!(place.log(None), format!("net:[{inode}]\n"));
    place.close();
}

/// Neither a promise without it nor none at all starts the container anywhere else.
#[test]
fn a_network_that_does_not_come_leaves_nothing() {
    let mut place = Place::new();
    let mut create = over(&place, "echo never");
    create.netns = true;
    let (promise, end) = Promise::new().unwrap();
    promise.keep(None, None);
    let failure = refused(&mut place, create, &[&end]);
    assert_eq!((failure.step.as_str(), failure.path.as_str()), ("namespace", "network"), "{failure}");

    let create = Create { netns: true, ..place.sh("echo never") };
    let failure = refused(&mut place, create, &[]);
    assert_eq!(failure.step, "create", "{failure}");
    assert_eq!(place.connection().status().unwrap().pid, None);
    assert!(place.record().is_none());
    place.audit();
}

#[test]
fn a_broken_promise_leaves_nothing() {
    let mut place = Place::new();
    let create = over(&place, "echo never");
    let (promise, end) = Promise::new().unwrap();
    drop(promise);
    let failure = refused(&mut place, create, &[&end]);
    assert_eq!(failure.step, "create", "{failure}");
    assert_eq!(place.connection().status().unwrap().pid, None);
    assert!(place.record().is_none());
    place.audit();
}

/// The rest is made when it is mounted on, inside what is mounted before.
#[test]
fn an_early_root_has_what_is_mounted_on_in_itself() {
    let place = Place::new();
    let file = place.path("file");
    fs::write(&file, "").unwrap();
    fs::create_dir_all(place.path("root/real")).unwrap();
    symlink("/real", place.path("root/link")).unwrap();
    symlink(place.path(""), place.path("root/host")).unwrap();
    let mut create = over(&place, "true");
    let tmpfs = |destination: &str| Mount {
        destination: destination.into(),
        r#type: "tmpfs".into(),
        source: "tmpfs".into(),
        ..Mount::default()
    };
    let part = |kind: &str, destination: &str| Mount {
        r#type: kind.into(),
        options: vec!["rbind".into(), "subpath=file".into()],
        ..bind(&place.path(""), destination)
    };
    let more = [
        part("bind", "/part"),
        Mount { options: vec!["subpath=file".into()], ..part("overlay", "/part2") },
        bind(&file, "/deep/er/file"),
        tmpfs("/link/covered"),
        bind(&file, "/real/covered/below"),
        tmpfs("/host/inside"),
    ];
    create.spec.mounts.extend(more);
    drop(EarlyRoot::of(&create.spec).unwrap().make().unwrap());
    let upper = |name: &str| place.path("upper").join(name);
    assert!(!upper("dev/pts").exists(), "that is in another mount");
    assert!(upper("deep/er/file").is_file());
    assert!(upper("real/covered").is_dir() && !upper("real/covered/below").exists());
    assert!(!upper("part").exists() && !upper("part2").exists(), "only their mounts tell what they are");
    // Links mean what they mean in the root.
    assert!(!place.path("inside").exists());
    assert!(upper(place.path("inside").to_str().unwrap().trim_start_matches('/')).is_dir());
}
