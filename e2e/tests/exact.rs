//! What an archive says of its files is what a container has and what an export gives back, to the nanosecond.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use testkit::layout::{GZIP, Layout, TAR, ZSTD};
use testkit::{Command, Host, image};

/// Every kind of file and attribute, made with the host's own tools.
const TREE: &str = r#"
mkdir -p tree/dir/deep && cd tree
echo hello > dir/file; chown 1000:2000 dir/file; chmod 4751 dir/file; ln dir/file dir/deep/again
ln -s ../../etc/passwd dir/link; chown -h 7:8 dir/link; mkfifo -m 640 pipe; mknod null c 1 3; mknod disk b 7 300
chown 4000000000:3999999999 pipe
long=$(printf 'l%.0s' $(seq 200)); mkdir -p $long/$long; echo deep > $long/$long/$long; ln -s $long/$long/$long to-long
printf 'umlaut' > 'ä ö'; printf x > "$(printf 'bytes\377')"; mkdir -m 1777 sticky; mkdir -m 2750 group; chown 0:50 group
cp /bin/true capable; setcap cap_net_raw+ep capable; setfattr -n user.note -v 'a b=c' capable
setfattr -n user.dir -v 1 dir; echo acl > acl; setfacl -m u:1234:r,g:77:rw acl
mkdir inherit; setfacl -d -m u:1234:rwx inherit; echo plain > inherit/plain; setfacl -b inherit/plain; chmod 600 inherit/plain
truncate -s 40M holes; printf start | dd of=holes conv=notrunc status=none
printf middle | dd of=holes bs=1 seek=20000000 conv=notrunc status=none; truncate -s 5M only-hole; : > empty
touch -d @1234567890.123456789 dir/file; touch -h -d @5.000000001 dir/link; touch -d '1960-01-01 00:00:00.25' empty
touch -d @99.5 $long; touch -d @77.000000007 dir; touch -d @4294967296 holes; touch -d @1 sticky
"#;

/// The same bytes for the same tree.
const TAR_OPTIONS: &str = "--sort=name --format=pax --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
                           --numeric-owner --xattrs --xattrs-include='*' --acls";

#[test]
fn a_tree_goes_in_and_comes_out_the_same() {
    let host = Host::bare();
    let work = host.path("work");
    std::fs::create_dir_all(&work).unwrap();
    let at = work.display().to_string();
    let shell = |script: &str| Command::new(&["bash", "-euc", &format!("cd {at}; {script}")]).ok();
    shell(TREE);
    // GNU tar's sparse forms, and none; its long names with and without pax.
    let forms = [
        ("pax1", "-S", ZSTD),
        ("pax01", "-S --sparse-version=0.1", GZIP),
        ("pax00", "-S --sparse-version=0.0", TAR),
        ("plain", "", GZIP),
    ];
    let mut layout = Layout::default();
    for (name, options, media_type) in forms {
        shell(&format!("tar {TAR_OPTIONS} {options} -cf {name}.tar tree"));
        let tree = std::fs::read(work.join(format!("{name}.tar"))).unwrap();
        let image = layout.image("linux/amd64", &[(GZIP, image::busybox()), (media_type, tree)]);
        layout.name(&image, &format!("docker.io/library/{name}:1"));
    }
    testkit::write(&work.join("all.tar"), &layout.tar());
    host.docker(&["load", "-i", &format!("{at}/all.tar")]).ok();
    let expected = shell("tar --numeric-owner -tvf plain.tar --full-time");
    for (name, _, _) in forms {
        let facts = "cd /tree; stat -c '%a %u:%g %s' dir/file pipe holes inherit/plain; cat dir/deep/again";
        let seen = host.docker(&["run", "--name", name, &format!("{name}:1"), "sh", "-c", facts]).ok();
        assert_eq!(
            seen,
            "4751 1000:2000 6\n640 4000000000:3999999999 0\n41943040 0:0 0\n600 0:0 6\nhello"
                .replace("41943040 0:0 0", "644 0:0 41943040"),
            "{name}"
        );
        shell(&format!("mkdir out-{name}"));
        host.docker(&["export", "-o", &format!("{at}/out.tar"), name]).ok();
        shell(&format!(
            "tar -C out-{name} --numeric-owner --same-owner -p --xattrs --xattrs-include='*' --acls -xf out.tar tree"
        ));
        let listed = shell(&format!(
            "tar {TAR_OPTIONS} -C out-{name} -cf back.tar tree; tar --numeric-owner -tvf back.tar --full-time"
        ));
        assert_eq!(listed, expected, "{name}");
        // Extended attributes, lists and contents too. (Archives differ in the order of attributes, which is the kernel's.)
        let attributes = |root: &str| {
            shell(&format!(
                "cd {root}; getfattr -R -h -d -m - tree; getfacl -R -n -p tree; find tree -type f -print0 | sort -z | xargs -0 sha256sum"
            ))
        };
        assert_eq!(attributes(&format!("out-{name}")), attributes("."), "{name}");
        shell(&format!("rm -r out-{name}"));
    }
    // Holes are holes on disk, where the archive had them.
    let blocks = |name: &str| {
        let script = format!(
            "du -k --max-depth=0 $(find {} -name holes -size +30M -printf '%p ')",
            host.path("data/layers").display()
        );
        let all = shell(&script);
        assert_eq!(all.lines().count(), 4, "{name}: {all}");
        all.lines().map(|line| line.split('\t').next().unwrap().parse::<u64>().unwrap()).min().unwrap()
    };
    assert!(blocks("sparse") < 100);
    host.finish();
}
