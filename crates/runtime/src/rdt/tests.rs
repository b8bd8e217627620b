//! On a directory tree as resctrl has it. What the kernel does by itself there (files appear with a directory and go with
//! it) the tests do.

#![allow(clippy::disallowed_methods, reason = "a test writes what the kernel would")]

use std::fs;

use super::*;

/// A resctrl of a processor that divides what `info` names.
fn resctrl(info: &[&str]) -> tempfile::TempDir {
    let mount = tempfile::tempdir().unwrap();
    for resource in info {
        fs::create_dir_all(mount.path().join("info").join(resource)).unwrap();
    }
    fs::create_dir_all(mount.path().join("info")).unwrap();
    fs::write(mount.path().join("info/last_cmd_status"), "ok\n").unwrap();
    fill(mount.path(), "L3:0=fff;1=fff\nMB:0=100;1=100\n");
    mount
}

const EVERYTHING: [&str; 3] = ["L3", "MB", "L3_MON"];

/// The kernel's files of a group.
fn fill(group: &Path, schemata: &str) {
    fs::write(group.join("schemata"), schemata).unwrap();
    fs::write(group.join("tasks"), "").unwrap();
}

fn class(mount: &Path, rdt: &IntelRdt) -> Class {
    Class::below(mount, rdt, "c1")
}

fn named(name: &str) -> IntelRdt {
    IntelRdt { clos_id: name.into(), ..IntelRdt::default() }
}

#[test]
fn the_mount_is_found() {
    let table = "22 1 0:21 / /sys rw,nosuid - sysfs sysfs rw\n\
                 40 22 0:36 / /sys/fs/resctrl rw shared:9 - resctrl resctrl rw\n";
    assert_eq!(mount_point(table), Some("/sys/fs/resctrl"));
    assert_eq!(mount_point("22 1 0:21 / /resctrl rw - tmpfs resctrl rw\n"), None);
}

#[test]
fn what_the_host_lacks_is_refused_by_its_member() {
    let mount = resctrl(&[]);
    let refused = |rdt: IntelRdt| class(mount.path(), &rdt).check(&rdt).unwrap_err().path;
    assert_eq!(
        refused(IntelRdt { l3_cache_schema: "L3:0=f".into(), ..named("a") }),
        "linux.intelRdt.l3CacheSchema"
    );
    assert_eq!(
        refused(IntelRdt { mem_bw_schema: "MB:0=10".into(), ..named("a") }),
        "linux.intelRdt.memBwSchema"
    );
    assert_eq!(
        refused(IntelRdt { enable_monitoring: true, ..named("/") }),
        "linux.intelRdt.enableMonitoring"
    );
    // Nothing would make it.
    assert_eq!(refused(named("a")), "linux.intelRdt.closID");
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 3);
}

#[test]
fn a_class_that_is_there_is_taken_when_it_is_as_wanted() {
    let mount = resctrl(&EVERYTHING);
    fs::create_dir(mount.path().join("gold")).unwrap();
    fill(&mount.path().join("gold"), "    MB:0= 30;1=100\n    L3:0=00f;1=fff\n");
    fs::write(mount.path().join("info/MB/bandwidth_gran"), "10\n").unwrap();
    let check = |rdt: IntelRdt| class(mount.path(), &rdt).check(&rdt);
    check(named("gold")).unwrap();
    check(IntelRdt { l3_cache_schema: "L3:1=0fff;0=f".into(), ..named("gold") }).unwrap();
    // As the kernel has rounded it.
    check(IntelRdt { mem_bw_schema: "MB:0=25".into(), ..named("gold") }).unwrap();
    // Not compared, but written: it is the administrator's own word.
    check(IntelRdt { schemata: vec!["L3:0=1".into()], ..named("gold") }).unwrap();
    for (l3, mb, member) in [
        ("L3:0=ff", "", "linux.intelRdt.l3CacheSchema"),
        ("L3:2=f", "", "linux.intelRdt.l3CacheSchema"),
        ("L3:nonsense", "", "linux.intelRdt.l3CacheSchema"),
        ("", "MB:0=35", "linux.intelRdt.memBwSchema"),
    ] {
        let rdt = IntelRdt { l3_cache_schema: l3.into(), mem_bw_schema: mb.into(), ..named("gold") };
        let failure = check(rdt).unwrap_err();
        assert_eq!(failure.path, member, "{l3} {mb}");
        assert!(failure.detail.contains("L3:0=00f"), "{failure}");
    }
    let rdt = IntelRdt { schemata: vec!["L3:0=1".into()], ..named("gold") };
    let class = class(mount.path(), &rdt);
    class.make(&rdt).unwrap();
    class.enter().unwrap();
    class.remove().unwrap();
    let read = |file: &str| fs::read_to_string(mount.path().join("gold").join(file)).unwrap();
    assert!(read("schemata").starts_with("L3:0=1\n"), "{}", read("schemata"));
    assert_eq!(read("tasks"), "0");
}

#[test]
fn without_a_name_the_class_is_the_containers() {
    let mount = resctrl(&EVERYTHING);
    let rdt = IntelRdt { enable_monitoring: true, ..IntelRdt::default() };
    let class = class(mount.path(), &rdt);
    class.check(&rdt).unwrap();
    // Here nobody makes the class's own directories: what was begun is undone.
    class.make(&rdt).unwrap_err();
    let directory = mount.path().join("c1");
    assert!(!directory.exists());

    fs::create_dir_all(directory.join("mon_groups/c1")).unwrap();
    fill(&directory, "");
    fs::write(directory.join("mon_groups/c1/tasks"), "").unwrap();
    class.enter().unwrap();
    assert_eq!(fs::read_to_string(directory.join("tasks")).unwrap(), "0");
    assert_eq!(fs::read_to_string(directory.join("mon_groups/c1/tasks")).unwrap(), "0");
    // Somebody else's, as long as nobody has made it for this container.
    let failure = class.check(&rdt).unwrap_err();
    assert!(failure.path == "linux.intelRdt" && failure.detail.contains("\"c1\""), "{failure}");
    class.make(&rdt).unwrap_err();
    assert!(directory.exists());
    fs::remove_dir_all(&directory).unwrap();
    fs::create_dir(&directory).unwrap();
    class.remove().unwrap();
    assert!(!directory.exists());
    class.remove().unwrap();
}

#[test]
fn a_refused_schema_leaves_no_class_and_says_why() {
    let mount = resctrl(&EVERYTHING);
    fs::write(mount.path().join("info/last_cmd_status"), "Mask out of range\n").unwrap();
    let rdt = IntelRdt { l3_cache_schema: "L3:0=fffff".into(), ..named("new") };
    let class = class(mount.path(), &rdt);
    class.check(&rdt).unwrap();
    let failure = class.make(&rdt).unwrap_err();
    assert!(failure.detail.ends_with("(Mask out of range)"), "{failure}");
    assert!(!mount.path().join("new").exists());
}

#[test]
fn the_group_that_is_counted_goes_alone() {
    let mount = resctrl(&EVERYTHING);
    fs::create_dir_all(mount.path().join("mon_groups")).unwrap();
    let rdt = IntelRdt { enable_monitoring: true, ..named("/") };
    let class = class(mount.path(), &rdt);
    class.check(&rdt).unwrap();
    class.make(&rdt).unwrap();
    let group = mount.path().join("mon_groups/c1");
    assert!(group.is_dir());
    // There is one for each container.
    assert_eq!(class.make(&rdt).unwrap_err().errno, EEXIST);
    class.remove().unwrap();
    assert!(!group.exists() && mount.path().join("schemata").exists());
}

#[test]
fn what_was_counted_is_told() {
    let mount = resctrl(&EVERYTHING);
    let write = |path: &str, text: &str| {
        let path = mount.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for (path, text) in [
        ("info/L3/cbm_mask", "fff\n"),
        ("info/L3/min_cbm_bits", "2\n"),
        ("info/L3/num_closids", "16\n"),
        ("info/MB/bandwidth_gran", "10\n"),
        ("gold/schemata", "    L3:0=00f;1=fff\n    MB:0=30;1=100\n"),
        ("gold/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
        ("gold/mon_data/mon_L3_00/mbm_total_bytes", "7\n"),
        ("gold/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
    ] {
        write(path, text);
    }
    let told = class(mount.path(), &named("gold")).stats();
    assert_eq!(told["l3_cache_info"], json!({ "cbm_mask": "fff", "min_cbm_bits": 2, "num_closids": 16 }));
    assert_eq!(
        (&told["l3_cache_schema_root"], &told["l3_cache_schema"]),
        (&json!("L3:0=fff;1=fff"), &json!("L3:0=00f;1=fff"))
    );
    assert_eq!(told["mem_bw_schema"], "MB:0=30;1=100");
    assert_eq!(told["schemata"], json!(["L3:0=00f;1=fff", "MB:0=30;1=100"]));
    assert_eq!(told["mbm_stats"], json!([{ "mbm_total_bytes": 7 }]));
    assert_eq!(told["cmt_stats"], json!([{ "llc_occupancy": 4096 }]));
}
