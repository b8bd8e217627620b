use crate::oci::runtime::Spec;

/// A configuration in which all is well, with one member replaced by another.
fn changed(path: &str, value: &str) -> Result<Spec, String> {
    let mut json = serde_json::json!({
        "ociVersion": "1.2.0", "hostname": "h", "root": {"path": "rootfs"},
        "process": {"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/a", "type": "tmpfs"}],
        "hooks": {"poststop": [{"path": "/bin/x"}]},
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "user"}, {"type": "network"}],
            "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG"}]},
            "devices": [{"path": "/dev/a", "type": "c", "major": 1, "minor": 1}],
            "resources": {"memory": {"limit": 100}, "blockIO": {"weight": 10}},
        },
    });
    let mut at = &mut json;
    for step in path.split('/') {
        at = match step.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[step],
        };
    }
    *at = serde_json::from_str(value).unwrap();
    Spec::from_bundle(json.to_string().as_bytes()).map_err(|invalid| invalid.field)
}

#[test]
fn what_is_wrong_is_refused_by_its_path() {
    assert!(changed("hostname", "\"other\"").is_ok());
    let table = [
        ("root", "null", "root"),
        ("process", "null", "process"),
        ("process/args", "[]", "process.args"),
        ("process/cwd", "\"tmp\"", "process.cwd"),
        ("process/user/uid", "10", "process.user.uid"),
        ("process/user/gid", "4294967295", "process.user.gid"),
        ("process/user/additionalGids", "[3,10]", "process.user.additionalGids[1]"),
        ("process/user/umask", "512", "process.user.umask"),
        ("process/oomScoreAdj", "1001", "process.oomScoreAdj"),
        ("process/rlimits", r#"[{"type":"RLIMIT_MOON","soft":1,"hard":1}]"#, "process.rlimits[0].type"),
        ("process/rlimits", r#"[{"type":"RLIMIT_CPU","soft":2,"hard":1}]"#, "process.rlimits[0].soft"),
        ("process/scheduler", r#"{"policy":"SCHED_FIFO"}"#, "process.scheduler.priority"),
        (
            "process/scheduler",
            r#"{"policy":"SCHED_DEADLINE","runtime":2,"deadline":1}"#,
            "process.scheduler.runtime",
        ),
        ("process/ioPriority", r#"{"class":"IOPRIO_CLASS_BE","priority":8}"#, "process.ioPriority.priority"),
        ("process/execCPUAffinity", r#"{"final":"3-1"}"#, "process.execCPUAffinity.final"),
        ("mounts/0/destination", "\"\"", "mounts[0].destination"),
        ("mounts/0/type", "\"bind\"", "mounts[0].source"),
        ("mounts/0/uidMappings", r#"[{"containerID":0,"hostID":0,"size":1}]"#, "mounts[0].uidMappings"),
        ("hooks/poststop/0/path", "\"x\"", "hooks.poststop[0].path"),
        ("hooks/poststop/0/timeout", "0", "hooks.poststop[0].timeout"),
        ("linux/namespaces", r#"[{"type":"uts"},{"type":"uts"}]"#, "linux.namespaces[1].type"),
        ("linux/namespaces", r#"[{"type":"uts"}]"#, "linux.namespaces"),
        ("linux/namespaces", r#"[{"type":"mount"},{"type":"user"}]"#, "hostname"),
        ("linux/namespaces", r#"[{"type":"mount"},{"type":"uts"}]"#, "linux.uidMappings"),
        ("linux/uidMappings", "[]", "linux.uidMappings"),
        ("linux/uidMappings/0/size", "0", "linux.uidMappings[0].size"),
        ("linux/uidMappings/0/hostID", "4294967290", "linux.uidMappings[0].hostID"),
        ("linux/timeOffsets", r#"{"boottime":{"secs":1}}"#, "linux.timeOffsets"),
        ("linux/netDevices", r#"{"eth0":{"name":"a/b"}}"#, "linux.netDevices.eth0"),
        ("linux/netDevices", r#"{"a":{"name":"x"},"b":{"name":"x"}}"#, "linux.netDevices.a.name"),
        ("linux/devices/0/type", "\"q\"", "linux.devices[0].type"),
        ("linux/devices/0/major", "-7", "linux.devices[0].major"),
        ("linux/seccomp/defaultAction", "\"SCMP_ACT_MAYBE\"", "linux.seccomp.defaultAction"),
        ("linux/seccomp/syscalls/0/action", "\"SCMP_ACT_NOTIFY\"", "linux.seccomp.listenerPath"),
        (
            "linux/seccomp/syscalls/0/args",
            r#"[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]"#,
            "linux.seccomp.syscalls[0].args[0].index",
        ),
        ("linux/seccomp/flags", r#"["SECCOMP_FILTER_FLAG_MOON"]"#, "linux.seccomp.flags[0]"),
        ("linux/seccomp/architectures", r#"["SCMP_ARCH_Z80"]"#, "linux.seccomp.architectures[0]"),
        ("linux/rootfsPropagation", "\"sideways\"", "linux.rootfsPropagation"),
        ("linux/maskedPaths", r#"["proc"]"#, "linux.maskedPaths[0]"),
        ("linux/memoryPolicy", r#"{"mode":"MPOL_BIND"}"#, "linux.memoryPolicy.nodes"),
        ("linux/personality", r#"{"domain":"LINUX","flags":["x"]}"#, "linux.personality.flags"),
        ("linux/intelRdt", r#"{"closID":".."}"#, "linux.intelRdt.closID"),
        ("linux/intelRdt", r#"{"closID":"a/b"}"#, "linux.intelRdt.closID"),
        ("linux/intelRdt", r#"{"l3CacheSchema":"L3:0=f\nL3:1=f"}"#, "linux.intelRdt.l3CacheSchema"),
        ("linux/intelRdt", r#"{"memBwSchema":"L3:0=f"}"#, "linux.intelRdt.memBwSchema"),
        ("linux/intelRdt", r#"{"schemata":["L3:0=f","L3:1=f\n"]}"#, "linux.intelRdt.schemata[1]"),
        ("linux/resources/memory", r#"{"limit":100,"swap":50}"#, "linux.resources.memory.swap"),
        ("linux/resources/memory/swappiness", "101", "linux.resources.memory.swappiness"),
        ("linux/resources/blockIO/weight", "5", "linux.resources.blockIO.weight"),
        (
            "linux/resources/hugepageLimits",
            r#"[{"pageSize":"02MB","limit":1}]"#,
            "linux.resources.hugepageLimits[0].pageSize",
        ),
        ("linux/resources/unified", r#"{"cgroup.procs":"1"}"#, "linux.resources.unified.cgroup.procs"),
        ("linux/resources/devices", r#"[{"allow":true,"access":"x"}]"#, "linux.resources.devices[0].access"),
        ("linux/resources/cpu", r#"{"cpus":"one"}"#, "linux.resources.cpu.cpus"),
    ];
    for (path, value, field) in table {
        assert_eq!(changed(path, value).unwrap_err(), field, "{path} = {value}");
    }
}
