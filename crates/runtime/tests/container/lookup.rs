//! Names become files, users and directories, or a failure in words that Docker's users know.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use runtime::Failure;
use spec::oci::runtime::{Spec, User};

use crate::Test;
use crate::fixture::{Rootfs, run};

pub(crate) const TESTS: &[Test] = &[
    (
        "what_cannot_be_executed_is_told_as_docker_tells_it",
        what_cannot_be_executed_is_told_as_docker_tells_it,
    ),
    ("programs_are_looked_up_as_the_user", programs_are_looked_up_as_the_user),
    ("a_user_has_its_groups_and_home", a_user_has_its_groups_and_home),
    ("an_unknown_user_is_told", an_unknown_user_is_told),
    ("passwd_is_read_only_when_it_is_a_file", passwd_is_read_only_when_it_is_a_file),
    ("the_working_directory_is_made", the_working_directory_is_made),
];

fn refused(spec: &Spec) -> Failure {
    run(spec).unwrap_err()
}

fn what_cannot_be_executed_is_told_as_docker_tells_it() {
    let rootfs = Rootfs::new();
    rootfs.write("bin/script", "#!/no/such/shell\n");
    rootfs.write("bin/text", "neither a program nor a script\n");
    for name in ["bin/script", "bin/text"] {
        fs::set_permissions(rootfs.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let table = [
        ("foo", 2, "exec: \"foo\": executable file not found in $PATH"),
        ("", 2, "exec: \"\": executable file not found in $PATH"),
        ("/nope", 2, "exec: \"/nope\": stat /nope: no such file or directory"),
        ("/etc/passwd", 13, "exec: \"/etc/passwd\": permission denied"),
        ("passwd", 2, "exec: \"passwd\": executable file not found in $PATH"),
        ("/etc", 21, "exec: \"/etc\": is a directory"),
        ("/bin/script", 2, "exec /bin/script: no such file or directory"),
        ("text", 8, "exec /bin/text: exec format error"),
    ];
    for (word, errno, detail) in table {
        let failure = refused(&rootfs.command(&[word]));
        assert_eq!((failure.step.as_str(), failure.errno, failure.detail.as_str()), ("exec", errno, detail));
    }
}

fn programs_are_looked_up_as_the_user() {
    let rootfs = Rootfs::new();
    fs::create_dir(rootfs.path("private")).unwrap();
    fs::copy(rootfs.path("bin/busybox"), rootfs.path("private/echo")).unwrap();
    fs::set_permissions(rootfs.path("private"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut spec = rootfs.command(&["/private/echo", "hi"]);
    assert_eq!(run(&spec).unwrap().text, "hi\n");
    spec.process.as_mut().unwrap().user.username = "bob".into();
    assert_eq!(refused(&spec).errno, 13);
}

fn a_user_has_its_groups_and_home() {
    let rootfs = Rootfs::new();
    let id = |user: User| {
        let mut spec = rootfs.shell("id -u; id -g; id -G; echo $HOME; umask");
        spec.process.as_mut().unwrap().user = user;
        run(&spec).unwrap().text.replace('\n', " ")
    };
    let named = |username: &str| User { username: username.into(), ..User::default() };
    assert_eq!(id(named("bob")), "1000 1001 1001 10 /home/bob 0022 ");
    assert_eq!(id(named("bob:wheel")), "1000 10 10 /home/bob 0022 ");
    assert_eq!(id(named("7:8")), "7 8 8 / 0022 ");
    assert_eq!(id(named("0")), "0 0 0 10 /root 0022 ");
    let more = User { additional_gids: vec![5], additional_groups: vec!["wheel".into()], ..named("7") };
    assert_eq!(id(more), "7 0 0 5 10 / 0022 ");
    assert_eq!(id(User { uid: 3, gid: 4, umask: Some(0o77), ..User::default() }), "3 4 4 / 0077 ");
}

fn an_unknown_user_is_told() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("");
    spec.process.as_mut().unwrap().user.username = "eve".into();
    let failure = refused(&spec);
    assert_eq!(failure.step, "user");
    assert_eq!(failure.detail, "unable to find user eve: no matching entries in passwd file");
}

fn passwd_is_read_only_when_it_is_a_file() {
    let rootfs = Rootfs::new();
    // A link may point anywhere in the container, and nowhere else.
    fs::copy(rootfs.path("etc/passwd"), rootfs.path("etc/real")).unwrap();
    fs::remove_file(rootfs.path("etc/passwd")).unwrap();
    symlink("../../../../etc/real", rootfs.path("etc/passwd")).unwrap();
    let mut spec = rootfs.shell("id -u");
    spec.process.as_mut().unwrap().user.username = "bob".into();
    assert_eq!(run(&spec).unwrap().text, "1000\n");
    // Opening a FIFO would wait for ever, a device would never end.
    fs::remove_file(rootfs.path("etc/passwd")).unwrap();
    symlink("/dev/zero", rootfs.path("etc/passwd")).unwrap();
    assert_eq!(refused(&spec).step, "user");
}

fn the_working_directory_is_made() {
    let rootfs = Rootfs::new();
    let mut spec = rootfs.shell("pwd");
    spec.process.as_mut().unwrap().cwd = "/srv/app".into();
    assert_eq!(run(&spec).unwrap().text, "/srv/app\n");
    spec.process.as_mut().unwrap().cwd = "/etc/passwd/x".into();
    let failure = refused(&spec);
    assert_eq!((failure.step.as_str(), failure.errno), ("chdir", 20));
    assert!(failure.detail.ends_with("set in config.json failed: not a directory"), "{failure}");
}
